"""Room for what has come and is not read: lent, and waited for."""

from __future__ import annotations

import asyncio


class Room:
    """So many bytes, of which each call may borrow some.

    Nobody takes more than the half of what is left, so that small ones find room beside large ones;
    but the first one, however large.
    """

    def __init__(self, size: int):
        self._size = self._left = size
        self._turn = asyncio.Lock()
        self._returned = asyncio.Event()

    def lend(self, size: int) -> bool:
        """Lend so much, if there is room."""
        if 2 * size > self._left < self._size:
            return False
        self._left -= size
        return True

    def take_back(self, size: int) -> None:
        self._left += size
        self._returned.set()

    async def borrow(self, size: int) -> None:
        """Wait for room, first come, first served: but who finds some needs not wait."""
        if self.lend(size):
            return
        async with self._turn:
            while not self.lend(size):
                self._returned.clear()
                await self._returned.wait()
