"""One recording while it is sent: chunks in, transcripts out."""

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TypeVar

from audio.endpointing import RATE, Utterance
from audio.errors import AudioError
from audio.listening import Chunk, Listener, Samples

from .errors import MLServerError, RequestError
from .recogniser import DecoderDiedError, Engine, Recognition, Running, Word
from .speech_input import unusable

T = TypeVar("T")

# Sound that is worth the decoder's turn, in samples; 100 ms.
SLICE = 1600
# Between two partial transcripts, in seconds: faster than this nobody reads.
PARTIAL_SECONDS = 0.1


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
            ended: list[Utterance] = []
            try:
                if isinstance(chunk, Samples):
                    self.rate = chunk.rate
                if chunk is not None and not self._listener.gather(chunk):
                    ended += await self._in_thread(lambda: self._listener.feed(chunk))
                if last:
                    ended += await self._in_thread(self._listener.finish)
            except AudioError as error:
                self.failed = unusable(0, error)
                self.failed.__cause__ = error
            async for transcript in self._finals(ended):
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

    async def _finals(self, ended: list[Utterance]) -> AsyncIterator[Transcript]:
        """The transcripts of finished utterances, in order; one that fails does not stop others."""
        error: DecoderDiedError | None = None
        begun = [asyncio.create_task(self._final(utterance)) for utterance in ended]
        try:
            for utterance, task in zip(ended, begun, strict=True):
                try:
                    yield final(utterance, await task)
                except DecoderDiedError as died:
                    error = died
        finally:
            for task in begun:
                task.cancel()
        if error is not None:
            raise error

    async def _final(self, utterance: Utterance) -> Recognition:
        # The one that a decoder follows is always the first of those that ended.
        running, fed = self._running, self._fed
        self._running, self._fed, self._shown = None, 0, ""
        if running is None:
            return (await self._engine.recognise([utterance.samples()]))[0]
        try:
            await running.feed(utterance.samples(fed))
            return await running.finish()
        finally:
            running.close()

    async def _partial(self, utterance: Utterance) -> str:
        """The text of the utterance under way where it is worth telling, or nothing."""
        if self._running is None and self._lost != utterance.index:
            self._running = self._engine.open()
        if self._running is None or len(utterance.samples()) - self._fed < SLICE:
            return ""
        samples = utterance.samples(self._fed)
        try:
            text = await self._running.feed(samples)
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
