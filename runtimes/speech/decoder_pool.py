"""A model's decoder processes: lent to one utterance at a time, started when they are needed."""

import asyncio
from typing import Any

from mlserver.logging import logger

from mlserver_streaming.models.errors import MLServerError

from .decoder_process import DecoderProcess


class DecoderPool:
    """At most `limit` processes. Dead ones are replaced."""

    def __init__(self, options: dict[str, Any], limit: int):
        """
        Args:
            options: pocketsphinx's own.
            limit: processes at once, about 130 MB each.
        """
        self._options = options
        self._limit = limit
        self._idle: list[DecoderProcess] = []
        self._count = 0  # lent, idle and starting
        self._waiting: list[asyncio.Future[DecoderProcess]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    async def open(self) -> None:
        """Start the first process.

        Raises:
            ValueError: pocketsphinx refuses its options.
        """
        self._count += 1
        self._idle.append(await DecoderProcess.start(self._options))

    async def lend(self) -> DecoderProcess:
        """A process; waits for one. Give it back with `take_back`.

        Raises:
            MLServerError: none can be started.
        """
        if (found := self.lend_now()) is not None:
            return found
        waiting = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        try:
            return await asyncio.shield(waiting)
        except asyncio.CancelledError:
            if waiting in self._waiting:
                self._waiting.remove(waiting)
            elif waiting.done() and not waiting.cancelled() and not waiting.exception():
                self.take_back(waiting.result())
            raise

    def lend_now(self) -> DecoderProcess | None:
        """A process if one is idle; otherwise one is started for later, where there is room."""
        while self._idle:
            found = self._idle.pop()
            if found.alive:
                return found
            self._bury(found)
        if self._count < self._limit:
            self._start()
        return None

    def take_back(self, process: DecoderProcess) -> None:
        """What was lent is free again once it has answered everything."""
        if process.busy:
            self._do(self._take_back_later(process))
        else:
            self._take_back(process)

    async def close(self) -> None:
        """End all idle processes; those that are lent end when they come back."""
        self._closed = True
        for waiting in self._waiting:
            waiting.cancel()
        idle, self._idle = self._idle, []
        await asyncio.gather(*(process.close() for process in idle))
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _take_back_later(self, process: DecoderProcess) -> None:
        await process.settled()
        self._take_back(process)

    def _take_back(self, process: DecoderProcess) -> None:
        if process.alive and not self._closed:
            self._offer(process)
        else:
            self._bury(process)

    def _offer(self, process: DecoderProcess) -> None:
        while self._waiting:
            waiting = self._waiting.pop(0)
            if not waiting.done():
                waiting.set_result(process)
                return
        self._idle.append(process)

    def _bury(self, process: DecoderProcess) -> None:
        """A process is dead, or is not needed any more: end it, and start another in its place."""
        self._count -= 1
        self._do(process.close())
        if not self._closed:
            self._start()

    def _start(self) -> None:
        self._count += 1
        self._do(self._start_one())

    async def _start_one(self) -> None:
        try:
            process = await DecoderProcess.start(self._options)
        except Exception as error:
            self._count -= 1
            logger.error("No decoder process could be started: %s", error)
            for waiting in self._waiting:
                if not waiting.done():
                    waiting.set_exception(MLServerError("No decoder can be started now.", 503))
            self._waiting.clear()
            return
        if self._closed:
            self._count -= 1
            await process.close()
        else:
            self._offer(process)

    def _do(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
