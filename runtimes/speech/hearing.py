"""Everything that the speech model hears with: an engine, threads, a detector for each recording.

Needs the extra `speech`; `runtimes.speech` imports it when the model is loaded.
"""

import asyncio
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from mlserver_streaming.audio.endpointing import Cutting, Utterance, Voice
from mlserver_streaming.audio.errors import AudioError
from mlserver_streaming.audio.listening import Chunk, Listener, Samples
from mlserver_streaming.audio.voice import SileroVoice

from .input import unusable
from .recogniser import Engine
from .recording import Recording, Transcript, final

T = TypeVar("T")


class Hearing:
    """Recordings, chunk by chunk or whole.

    Attributes:
        cutting: how utterances are cut.
    """

    def __init__(
        self,
        engine: Engine,
        cutting: Cutting,
        max_seconds: float,
        voice: Callable[[], Voice] = SileroVoice,
    ):
        """
        Args:
            cutting: how utterances are cut.
            max_seconds: of audio in one request's recording.
            voice: makes a recording's voice-activity detector.
        """
        self._engine = engine
        self.cutting = cutting
        self._max_seconds = max_seconds
        self._voice = voice
        self._threads = ThreadPoolExecutor(
            len(os.sched_getaffinity(0)), thread_name_prefix="hearing"
        )

    async def load(self) -> None:
        """
        Raises:
            ValueError: the settings name something that is not there.
        """
        await self._engine.load()

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        await self._engine.close()

    def begin(self, cutting: Cutting | None = None) -> Recording:
        """A recording that comes in chunks.

        Args:
            cutting: how its utterances are cut; as all others' where it is left out.
        """
        return Recording(self._listener(cutting), self._engine, self._threads)

    async def whole(self, chunks: Sequence[Chunk]) -> list[list[Transcript]]:
        """The final transcripts of whole recordings, worked on side by side.

        Raises:
            ContentError: one of them cannot be used.
            DecoderDiedError
        """
        # The longest first: the last one to end then ends soon after the others.
        order = sorted(range(len(chunks)), key=lambda index: -_size(chunks[index]))
        cut = {index: asyncio.create_task(self._cut(index, chunks[index])) for index in order}
        in_order = [cut[index] for index in range(len(chunks))]
        if self._engine.batched:
            return await self._recognised(await _together(in_order))
        rows = [asyncio.create_task(self._recognised_when_cut(each)) for each in in_order]
        try:
            return await _together(rows)
        finally:
            for each in in_order:
                each.cancel()

    def _listener(self, cutting: Cutting | None = None) -> Listener:
        return Listener(self._voice(), cutting or self.cutting, self._max_seconds)

    async def _cut(self, index: int, chunk: Chunk) -> list[Utterance]:
        listener = self._listener()

        def work() -> list[Utterance]:
            try:
                return listener.feed(chunk) + listener.finish()
            finally:
                listener.close()

        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        except AudioError as error:
            raise unusable(index, error) from error

    async def _recognised_when_cut(self, cut: "asyncio.Task[list[Utterance]]") -> list[Transcript]:
        return (await self._recognised([await cut]))[0]

    async def _recognised(self, rows: list[list[Utterance]]) -> list[list[Transcript]]:
        after = self._engine.silence_after
        flat = [utterance.samples(after=after) for row in rows for utterance in row]
        found = iter(await self._engine.recognise(flat))
        return [[final(utterance, next(found)) for utterance in row] for row in rows]


async def _together(tasks: "list[asyncio.Task[T]]") -> list[T]:
    """All results; the first failure cancels the rest."""
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


def _size(chunk: Chunk) -> int:
    return len(chunk.data) if isinstance(chunk, Samples) else len(chunk)
