"""Stop working for a client that has gone."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope

from .cycles import answer_to

T = TypeVar("T")


class stop_on_hang_up:
    """Cancel the block when the client of an HTTP request goes away, and leave it quietly.

    The request's body must have been read, where `receive` still gives it. The block runs in the
    caller's own task, so a stream that it drives is closed by the task that opened it; any other
    cancellation passes through.
    """

    __slots__ = ("_cycle", "_is_over", "_receive", "_task", "_watcher", "hung_up")

    def __init__(self, receive: Receive, scope: Scope | None = None):
        """
        Args:
            scope: the request's. Where our own server serves it, it says by itself when a client
                goes, and no task needs to wait for that.
        """
        self._receive = receive
        self._watcher: asyncio.Task[None] | None = None
        self._is_over = self.hung_up = False
        self._cycle = answer_to(scope) if scope is not None else None

    def __enter__(self) -> "stop_on_hang_up":
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        if self._cycle is None:
            self._watcher = asyncio.create_task(self._watch())
        elif self._cycle.disconnected:
            # Not now: a task that is at work is not cancelled before it waits for something else.
            asyncio.get_running_loop().call_soon(self._stop)
        else:
            self._cycle.on_hang_up = self._stop
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        self._is_over = True
        if self._watcher is not None:
            self._watcher.cancel()
        elif self._cycle is not None:
            self._cycle.on_hang_up = None
        quietly = isinstance(error, asyncio.CancelledError) and self.hung_up
        return quietly and not self._task.uncancel()

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._stop()

    def _stop(self) -> None:
        if not self._is_over:
            self.hung_up = True
            self._task.cancel()


async def unless_hung_up(receive: Receive, work: Awaitable[T], scope: Scope | None = None) -> T:
    """What comes of the work, which is cancelled when the client goes away.

    Raises:
        ClientDisconnect: it has.
    """
    with stop_on_hang_up(receive, scope):
        return await work
    raise ClientDisconnect
