"""The order in which requests are sent: that of their numbers, also those sent a second time."""

from __future__ import annotations

import asyncio


class SendOrder:
    """Numbers that wait to be sent. Only the lowest may go."""

    def __init__(self) -> None:
        self._next = 0
        self._unsent: set[int] = set()
        self._moved = asyncio.Event()

    def take(self) -> int:
        """A number behind all others; it waits until it is `sent`."""
        number = self._next
        self._next += 1
        self._unsent.add(number)
        return number

    async def turn(self, number: int) -> None:
        """Wait until no lower number waits."""
        while number != min(self._unsent):
            self._moved.clear()
            await self._moved.wait()

    def sent(self, number: int) -> None:
        """It is on its way, or given up; the next may go. Twice is as good as once."""
        self._unsent.discard(number)
        self._moved.set()

    def again(self, number: int) -> None:
        """It was lost on its way and waits once more, before all that came after it."""
        self._unsent.add(number)
