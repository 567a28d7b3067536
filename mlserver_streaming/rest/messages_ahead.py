"""What has come of a WebSocket's messages, and nobody has taken."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ..streams.room import FREE_BYTES, BusyError, Loan, Room

# More than one message, so that a close or a hang-up is seen.
MESSAGES_AHEAD, BYTES_AHEAD = 16, FREE_BYTES


class MessagesAhead:
    """Bounded: in number, in bytes, and by the room that all requests share."""

    def __init__(
        self, most: int, room: Room, go_on: Callable[[], None], refuse: Callable[[], None]
    ):
        """
        Args:
            most: bytes of a message.
            room: what requests may have until they are whole.
            go_on: called when there is room again.
            refuse: called when there is none for too long.
        """
        self._most = most
        self._go_on, self._refuse = go_on, refuse
        self._number = self._bytes = self._coming = 0
        self._loan = Loan(room)
        self._borrowing: asyncio.Task[None] | None = None
        self._is_over = False

    @property
    def is_enough(self) -> bool:
        """Whether no more is to be read."""
        if self._borrowing is not None or self._bytes >= BYTES_AHEAD:
            return True
        return self._number >= MESSAGES_AHEAD

    def come(self, size: int) -> None:
        """Of the message that is not whole, so many bytes are here."""
        self._coming = size
        self._settle()

    def lend(self, size: int) -> bool:
        """Lend room for so many bytes that are there at once, if there is some."""
        held = self._coming + self._bytes + size
        return held <= FREE_BYTES or self._loan.lend(held)

    def put(self, size: int) -> None:
        """A message is whole."""
        self._number += 1
        self._bytes += size

    def take(self, size: int) -> None:
        """A message is taken."""
        self._number -= 1
        self._bytes -= size
        self._settle()

    def end(self) -> None:
        """Nothing more of it comes."""
        self._is_over = True
        self._settle()

    def _settle(self) -> None:
        held = self._coming + self._bytes
        if held <= FREE_BYTES or self._is_over:
            # What is waited for may have been wanted for messages that are taken now.
            if self._borrowing is not None:
                self._borrowing.cancel()
                self._borrowing = None
            self._loan.give_back()
        elif self._borrowing is None:
            # It is more where a frame might have swollen more than it did.
            self._loan.keep(2 * held)
            wanted = self._loan.wanted(held, self._most)
            if not self._loan.lend(wanted):
                self._borrowing = asyncio.create_task(self._borrow(wanted))

    async def _borrow(self, size: int) -> None:
        try:
            await self._loan.borrow(size)
        except BusyError:
            self._borrowing = None
            self._refuse()
        else:
            self._borrowing = None
            self._settle()
            self._go_on()
