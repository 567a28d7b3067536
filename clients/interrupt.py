"""Ctrl-C ends a run once; what is left to finish is finished, however often it is pressed."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Coroutine
from types import FrameType, TracebackType
from typing import Any, Self


class Interrupt:
    """A context manager around a run and the closing of its files.

    The first SIGINT cancels what `run` has under way, or raises KeyboardInterrupt where nothing is;
    those after it do nothing, so that a file is not left half-closed by a second press. In a thread
    other than the main one, which gets no signals, it does nothing.
    """

    def __init__(self) -> None:
        self._task: asyncio.Task[None] | None = None
        self._pressed = False
        self._previous: Any = None

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._previous = signal.signal(signal.SIGINT, self._press)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """`asyncio.run`, ended by the first SIGINT.

        Raises:
            KeyboardInterrupt: it was.
        """
        try:
            asyncio.run(self._noted(work))
        except asyncio.CancelledError:
            if not self._pressed:
                raise
            raise KeyboardInterrupt from None
        if self._pressed:
            raise KeyboardInterrupt

    async def _noted(self, work: Coroutine[Any, Any, None]) -> None:
        self._task = asyncio.current_task()
        try:
            await work
        finally:
            self._task = None

    def _press(self, number: int, frame: FrameType | None) -> None:
        if self._pressed:
            return
        self._pressed = True
        if (task := self._task) is None:
            raise KeyboardInterrupt
        task.get_loop().call_soon_threadsafe(task.cancel)
