"""What a thread hands to the event loop, as it comes."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any


class Handover:
    """One thread puts, one task takes.

    The loop is woken once for all that is there when it comes round: many tokens cost it no more
    than one. What is not taken is kept: no more than one answer, which its tokens bound.

    Attributes:
        closed: whether nobody takes any more; the thread looks at it and stops.
    """

    def __init__(self) -> None:
        self.closed = False
        self._loop = asyncio.get_running_loop()
        self._items: deque[Any] = deque()
        self._there = asyncio.Event()
        self._called = False
        self._error: BaseException | None = None
        self._over = False

    def put(self, item: Any) -> None:
        """From the thread."""
        self._items.append(item)
        self._call()

    def end(self, error: BaseException | None = None) -> None:
        """From the thread: nothing more comes; `error` is raised where the rest has been taken."""
        self._error, self._over = error, True
        self._call()

    async def items(self) -> AsyncIterator[Any]:
        """Raises what the thread ended with."""
        while True:
            await self._there.wait()
            self._there.clear()
            # Before the look: what is put from here on calls again.
            self._called = False
            over = self._over
            while self._items:
                yield self._items.popleft()
            if over:
                break
        if self._error is not None:
            raise self._error

    def _call(self) -> None:
        if not self._called:
            self._called = True
            with suppress(RuntimeError):  # the loop is closed, nobody waits
                self._loop.call_soon_threadsafe(self._there.set)
