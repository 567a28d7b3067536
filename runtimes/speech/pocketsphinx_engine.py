"""pocketsphinx as an engine: the embedded default, its English model comes in its wheel."""

import asyncio
from collections.abc import Sequence
from statistics import fmean
from typing import Any

from .decoder_pool import DecoderPool
from .decoder_process import DecoderProcess, cores
from .recogniser import Pcm, Recognition, Word

# More would fill memory before they fill the cores of a large machine.
MOST_PROCESSES = 8


class PocketsphinxEngine:
    """Utterances side by side, each in a decoder process.

    At most `workers` finished utterances are recognised at once, so that `live` processes are left
    for utterances that are being spoken.
    """

    batched = False
    silence_after: float | None = None

    def __init__(self, options: dict[str, Any], workers: int | None, live: int | None):
        """
        Args:
            options: pocketsphinx's own (hmm, lm, dict, lw, ...).
            workers: finished utterances at once (one a core, at most 8).
            live: processes besides, for utterances under way (as many).
        """
        most = min(cores(), MOST_PROCESSES)
        workers, live = workers or most, live or most
        self._workers = asyncio.Semaphore(workers)
        self._pool = DecoderPool(options, workers + live)

    async def load(self) -> None:
        await self._pool.open()

    async def close(self) -> None:
        await self._pool.close()

    async def recognise(self, utterances: Sequence[Pcm]) -> list[Recognition]:
        # The longest first: the last one to end then ends soon after the others.
        order = sorted(range(len(utterances)), key=lambda index: -len(utterances[index]))
        tasks = {i: asyncio.create_task(self._recognise(utterances[i])) for i in order}
        try:
            await asyncio.gather(*tasks.values())
        finally:
            for task in tasks.values():
                task.cancel()
        return [tasks[index].result() for index in range(len(utterances))]

    def open(self) -> "RunningUtterance | None":
        process = self._pool.lend_now()
        return None if process is None else RunningUtterance(self._pool, process)

    async def _recognise(self, utterance: Pcm) -> Recognition:
        async with self._workers:
            process = await self._pool.lend()
            try:
                return _recognition(await process.ask("recognise", utterance.tobytes()))
            finally:
                self._pool.take_back(process)


class RunningUtterance:
    """An utterance that a decoder process hears as it is spoken."""

    def __init__(self, pool: DecoderPool, process: DecoderProcess):
        self._pool = pool
        self._process: DecoderProcess | None = process
        self._began = False

    async def feed(self, samples: Pcm, paused: bool = False) -> str:
        process = await self._begun()
        answer = await process.ask("feed", samples.tobytes())
        return str(answer["text"])

    async def finish(self) -> Recognition:
        process = await self._begun()
        return _recognition(await process.ask("finish"))

    def close(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            self._pool.take_back(process)

    async def _begun(self) -> DecoderProcess:
        assert self._process is not None
        if not self._began:
            self._began = True
            # Whoever had the process before may have left in the middle of an utterance.
            await self._process.ask("start")
        return self._process


def _recognition(answer: dict[str, Any]) -> Recognition:
    words = tuple(Word(text, start, end, chance) for text, start, end, chance in answer["words"])
    confidence = fmean(word.confidence or 0.0 for word in words) if words else None
    return Recognition(str(answer["text"]), words, confidence)
