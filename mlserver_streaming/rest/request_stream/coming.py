"""The requests of an HTTP body, as they come."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

from starlette.requests import ClientDisconnect, Request
from starlette.types import Message

from ...errors import BadRequestError
from ...streams.room import Loan
from ...tensors.steps import READ_BYTES
from ..accepting import LINES_TYPES
from ..body import coding_of, room_of
from ..cycles import answer_to
from . import parts
from .asked import Asked, Splitter
from .inflating import Inflating
from .lines import Lines
from .parts import Parts

SplitterMaker = Callable[[int], Splitter]
"""Makes what cuts a body whose requests are of so many bytes at most."""


def splitter_for(content_type: str) -> SplitterMaker | None:
    """How a body of this type holds several requests; None where it is one request."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind in LINES_TYPES:
        return Lines
    if kind in parts.MEDIA_TYPES:
        return lambda limit: Parts(content_type, limit)
    return None


class Coming:
    """An async iterator of them. No more of the body is read than the next request takes, but for
    what the server has read already.

    To cancel a wait for one loses nothing. `close` it in the end.
    """

    def __init__(self, request: Request, splitter: Splitter, touch: Callable[[], None]):
        """
        Args:
            touch: told of each piece that comes.

        Raises:
            BadRequestError: the body has an encoding that we do not know.
        """
        coding = coding_of(request)
        self._inflating = Inflating(coding) if coding is not None else None
        self._splitter = splitter
        self._loan = Loan(room_of(request).unread)
        self._receive = request.receive
        self._touch = touch
        self._cycle = answer_to(request.scope)
        if self._cycle is not None:
            self._cycle.take_in_pieces()
        self._next: Asked | None = None
        self._requests: Iterator[Asked | None] = iter(())
        self._is_here = False
        self._no_more = asyncio.Event()

    def __aiter__(self) -> Coming:
        return self

    async def __anext__(self) -> Asked:
        """
        Raises:
            BadRequestError: the body cannot be read, or is broken off.
            TooLargeError: the request is longer than one may be.
            BusyError: there is no room for it among the others that come.
            ClientDisconnect: the client went away.
        """
        if self._next is None:
            await self._look()
        found, self._next = self._next, None
        if found is None:
            raise StopAsyncIteration
        return found

    def is_read(self) -> None:
        """The last one is no bytes any more. Until then it has the room that it had as it came:
        what was packed would come faster than it is read."""
        self._loan.give_back()

    def close(self) -> None:
        """No more of them are asked for."""
        # By hand: this and what reads for it hold one another, and the collector may take its time.
        self._requests, self._next = iter(()), None
        self._splitter.clear()
        self._loan.give_back()

    async def receive(self) -> Message:
        """What the server says once the body is here: whoever waits for a hang-up takes none of
        it."""
        await self._no_more.wait()
        return await self._receive()

    async def _look(self) -> None:
        while True:
            for found in self._requests:
                if found is not None:
                    self._next = found
                    return
                splitter = self._splitter
                await self._loan.borrow(self._loan.wanted(splitter.held, splitter.limit))
                await asyncio.sleep(0)
            if self._is_here:
                return
            message = await self._receive()
            if message["type"] == "http.disconnect":
                self._no_more.set()
                raise ClientDisconnect
            self._touch()
            if not message.get("more_body", False):
                self._is_here = True
                self._no_more.set()
            self._requests = self._cut(message.get("body", b""))

    def _cut(self, data: bytes) -> Iterator[Asked | None]:
        """The requests in a piece of the body, with a None wherever others may have a turn."""
        for at in range(0, len(data), READ_BYTES):
            some = data[at : at + READ_BYTES]
            for plain in self._inflating.feed(some) if self._inflating is not None else (some,):
                yield from self._splitter.feed(plain)
                yield None
        if not self._is_here:
            return
        if self._cycle is not None and self._cycle.broken_off:
            raise BadRequestError(self._cycle.broken_off)
        if self._inflating is not None:
            self._inflating.end()
        yield from self._splitter.end()
