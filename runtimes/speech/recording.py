"""One recording while it is sent: chunks in, transcripts out."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from concurrent.futures import Executor
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from mlserver_streaming.audio.endpointing import RATE, Utterance
from mlserver_streaming.audio.errors import AudioError
from mlserver_streaming.audio.listening import Chunk, Listener, Samples
from mlserver_streaming.models.errors import MLServerError, RequestError

from .input import unusable
from .recogniser import DecoderDiedError, Engine, Pcm, Recognition, Running, Word

T = TypeVar("T")

# Sound that is worth the decoder's turn, in samples; 100 ms.
SLICE = 1600
# Between two partial transcripts, in seconds: faster than this nobody reads.
PARTIAL_SECONDS = 0.1
# What is listened to in one go of a large chunk: the words at its beginning do not wait for its
# end. Seconds of samples, bytes of a file.
PIECE_SECONDS, PIECE_BYTES = 4, 1 << 16
# Finished utterances of one chunk that are recognised, or wait for that.
UTTERANCES_AHEAD = 8


@dataclass(frozen=True, slots=True)
class Transcript:
    """What was said in an utterance, so far or finally; times in seconds of the recording."""

    index: int
    text: str
    final: bool
    start: float
    end: float
    offset: float = 0.0
    words: tuple[Word, ...] = ()
    confidence: float | None = None


class Recording:
    """Hears one recording. One call of `hear` at a time works; others wait their turn.

    Attributes:
        rate: the sample rate of its samples, once it is known.
        failed: why nothing more of it can be heard.
    """

    def __init__(
        self,
        listener: Listener,
        engine: Engine,
        threads: Executor,
        clock: Callable[[], float] | None = None,
    ):
        """
        Args:
            threads: where decoding and cutting, which block, are done.
            clock: seconds; the loop's own where it is left out.
        """
        self.rate: int | None = None
        self.failed: MLServerError | None = None
        self._listener = listener
        self._engine = engine
        self._threads = threads
        self._clock = clock or asyncio.get_running_loop().time
        self._lock = asyncio.Lock()
        self._running: Running | None = None
        self._fed = 0
        self._lost = -1  # the utterance whose decoder died
        self._shown = ""
        self._shown_at = float("-inf")

    async def hear(
        self, chunk: Chunk | None, last: bool = False, partials: bool = True
    ) -> AsyncIterator[Transcript]:
        """Take the next chunk, and what there is to say by now.

        Args:
            chunk: None adds nothing; with `last` it only ends the recording.
            last: nothing follows; the utterance under way is over.
            partials: whether transcripts of the utterance under way are wanted.

        Raises:
            RequestError, ContentError: the recording cannot be used; `failed` is set.
            DecoderDiedError: a decoder process died. The recording goes on.
        """
        async with self._lock:
            if self.failed is not None:
                raise RequestError(f"This recording failed before: {self.failed}")
            if isinstance(chunk, Samples):
                self.rate = chunk.rate
            finals: Any = self._finals(chunk, last)
            async with aclosing(finals):
                async for transcript in finals:
                    yield transcript
            if last or self.failed is not None:
                self.close()
            if self.failed is not None:
                raise self.failed
            utterance = self._listener.open
            if utterance is not None and (text := await self._partial(utterance)) and partials:
                yield Transcript(
                    utterance.index, text, False, utterance.start / RATE, utterance.end / RATE
                )

    def rest(self) -> None:
        """Nothing comes for a while: give the decoder back. It hears the utterance again later."""
        if self._running is not None:
            self._running.close()
        self._running, self._fed = None, 0

    def close(self) -> None:
        """Nothing comes any more."""
        self.rest()
        self._threads.submit(self._listener.close)

    async def _finals(self, chunk: Chunk | None, last: bool) -> AsyncIterator[Transcript]:
        """The transcripts of the utterances that end in a chunk, in order.

        They are recognised while the rest of the chunk is listened to. One that fails does not
        stop the others. `failed` is set where the recording cannot be used.
        """
        error: DecoderDiedError | None = None
        begun: deque[tuple[Utterance, asyncio.Task[Recognition]]] = deque()
        listening = self._listen(chunk, last)
        try:
            more = True
            while more or begun:
                if more:
                    ended = await anext(listening, None)
                    more = ended is not None
                    for utterance in ended or []:
                        begun.append((utterance, asyncio.create_task(self._final(utterance))))
                while begun and (begun[0][1].done() or not more or len(begun) > UTTERANCES_AHEAD):
                    utterance, task = begun[0]
                    try:
                        yield final(utterance, await task)
                    except DecoderDiedError as died:
                        error = died
                    begun.popleft()
        finally:
            await listening.aclose()
            for _, task in begun:
                task.cancel()
        if error is not None and self.failed is None:
            raise error

    async def _listen(
        self, chunk: Chunk | None, last: bool
    ) -> AsyncGenerator[list[Utterance], None]:
        """The utterances that end in each piece of a chunk, and at the recording's end."""
        try:
            for piece in pieces(chunk) if chunk is not None else []:
                if not self._listener.gather(piece):
                    yield await self._in_thread(partial(self._listener.feed, piece))
            if last:
                yield await self._in_thread(self._listener.finish)
        except AudioError as error:
            self.failed = unusable(0, error)
            self.failed.__cause__ = error

    async def _final(self, utterance: Utterance) -> Recognition:
        # The one that a decoder follows is always the first of those that ended.
        running, fed = self._running, self._fed
        self._running, self._fed, self._shown = None, 0, ""
        if running is None:
            return (await self._engine.recognise([self._heard(utterance)]))[0]
        try:
            await running.feed(self._heard(utterance, fed), paused=True)
            return await running.finish()
        finally:
            running.close()

    async def _partial(self, utterance: Utterance) -> str:
        """The text of the utterance under way where it is worth telling, or nothing."""
        if self._running is None and self._lost != utterance.index:
            self._running = self._engine.open()
        samples = self._heard(utterance, self._fed)
        paused = utterance.paused(self._engine.silence_after)
        if self._running is None or (len(samples) < SLICE and not paused):
            return ""
        try:
            text = await self._running.feed(samples, paused)
        except DecoderDiedError as error:
            self._lost = utterance.index
            self.rest()
            raise DecoderDiedError(
                "The process that recognised this speech died: there are no more partial "
                "transcripts of this utterance, its final comes from another process."
            ) from error
        self._fed += len(samples)
        now = self._clock()
        if text == self._shown or now - self._shown_at < PARTIAL_SECONDS:
            return ""
        self._shown, self._shown_at = text, now
        return text

    def _heard(self, utterance: Utterance, first: int = 0) -> Pcm:
        return utterance.samples(first, self._engine.silence_after)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)


def final(utterance: Utterance, found: Recognition) -> Transcript:
    """A finished utterance's transcript."""
    return Transcript(
        utterance.index,
        found.text,
        True,
        utterance.start / RATE,
        utterance.end / RATE,
        utterance.offset / RATE,
        found.words,
        found.confidence,
    )


def pieces(chunk: Chunk) -> Iterator[Chunk]:
    """A chunk in pieces that are quickly listened to; an empty one is one piece."""
    if isinstance(chunk, Samples):
        size = PIECE_SECONDS * chunk.rate
        for at in range(0, max(len(chunk.data), 1), size):
            yield Samples(chunk.data[at : at + size], chunk.rate)
    else:
        for at in range(0, max(len(chunk), 1), PIECE_BYTES):
            yield chunk[at : at + PIECE_BYTES]
