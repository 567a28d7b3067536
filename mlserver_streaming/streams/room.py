"""What requests may have until they are whole: room that is lent, and waited for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ..errors import OverLimitError
from ..settings import LimitSettings

# How long a request may wait for room among the others that come.
ROOM_SECONDS = 20.0
# What each may have of which nobody counts: as much as is read of a connection at once.
FREE_BYTES = 256 * 1024
# What a byte of a packing may become: https://www.zlib.net/zlib_tech.html
SWELLING = 1032
# Requests that are unpacked at once may have as much as so many of the largest: three of those, and
# smaller ones beside them.
UNPACKED_REQUESTS = 4


class BusyError(OverLimitError):
    def __init__(self) -> None:
        super().__init__("There are too many large requests on their way at once; try again later.")


class Room:
    """So many bytes, of which each request may borrow some.

    Nobody takes more than the half of what is left, so that small ones find room beside large ones;
    but the first one, however large.
    """

    def __init__(self, size: int):
        self._size = self._left = size
        # What each of those wants who wait, in the order in which they came.
        self._waiting: dict[asyncio.Future[None], int] = {}

    def lend(self, size: int) -> bool:
        """Lend so much, if there is room."""
        if 2 * size > self._left < self._size:
            return False
        self._left -= size
        return True

    def take_back(self, size: int) -> None:
        self._left += size
        for served, wanted in tuple(self._waiting.items()):
            # Who wants little finds some behind who wants much, as if it came now.
            if not served.done() and self.lend(wanted):
                served.set_result(None)

    async def borrow(self, size: int) -> None:
        """Wait for room; of those who find some, first come, first served."""
        if self.lend(size):
            return
        served = asyncio.get_running_loop().create_future()
        self._waiting[served] = size
        try:
            await served
        except asyncio.CancelledError:
            if not served.cancelled():  # it had been served
                self.take_back(size)
            raise
        finally:
            del self._waiting[served]

    @asynccontextmanager
    async def lent(self, size: int) -> AsyncIterator[None]:
        """So much of it, waited for, for as long as this is open."""
        await self.borrow(size)
        try:
            yield
        finally:
            self.take_back(size)


class Loan:
    """What is borrowed for one request that is not whole; as a context, until it is left.

    Attributes:
        size: bytes that are borrowed.
    """

    __slots__ = ("_room", "size")

    def __init__(self, room: Room):
        self._room = room
        self.size = 0

    def __enter__(self) -> Loan:
        return self

    def __exit__(self, *failure: object) -> None:
        self.give_back()

    async def borrow(self, size: int) -> None:
        """Have so much in all.

        Raises:
            BusyError: there is no room for too long.
        """
        more = size - self.size
        if more <= 0:
            return
        try:
            async with asyncio.timeout(ROOM_SECONDS):
                await self._room.borrow(more)
        except TimeoutError:
            raise BusyError from None
        self.size += more

    def lend(self, size: int) -> bool:
        """The same where it needs no waiting; whether that is done."""
        more = size - self.size
        if more > 0:
            if not self._room.lend(more):
                return False
            self.size += more
        return True

    def wanted(self, held: int, most: int) -> int:
        """What is to be borrowed in all for a request of which nobody knows how long it will be:
        twice what has come of it, so that not each piece asks.

        Args:
            held: bytes that have come.
            most: that it may have.
        """
        return min(2 * held, most) if held > FREE_BYTES + self.size else 0

    def keep(self, size: int) -> None:
        """It is no more than that."""
        if self.size > size:
            self._room.take_back(self.size - size)
            self.size = size

    def give_back(self) -> None:
        """The request is whole, or nothing more of it comes."""
        self.keep(0)


class RequestRoom:
    """The room of all requests, whichever way they come.

    Attributes:
        unread: for those that are not whole.
        unpacked: for those that are being unpacked.
    """

    def __init__(self, limits: LimitSettings):
        self.unread = Room(limits.most_unread_bytes)
        self.unpacked = Room(UNPACKED_REQUESTS * limits.request_bytes)
