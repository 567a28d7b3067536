"""One call: what of `grpc.aio.ServicerContext` handlers use, what comes, and what is to be sent.

It knows nothing of frames: the connection gives it what came, and takes what is ready.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from time import monotonic
from typing import Any, NoReturn, Protocol

import grpc

from ...streams.room import FREE_BYTES, BusyError, Loan
from ...streams.turns import in_turns
from ...tensors.steps import Steps
from .messages import TOO_LARGE, Inbox, framed
from .metadata import OPENING, Asked, BadCallError, Fields, Metadata, encode, trailers
from .outgoing import Outgoing
from .running import Running
from .wire import FAR_WINDOW_BYTES, WINDOW_BYTES

# What a client may come to send ahead, if whoever reads is faster than its line: one of 50 ms and
# 1 Gbit/s holds 6 MiB. What is more than FAR_WINDOW_BYTES is lent (running.py).
MOST_AHEAD_BYTES = 16 * 1024 * 1024
Code = grpc.StatusCode


class Connected(Protocol):
    """What a call needs of its connection."""

    loop: asyncio.AbstractEventLoop
    peer: str
    running: Running
    delay: float

    @property
    def window(self) -> int:
        """Bytes that a new call's client may send before it is read."""

    def lacks(self) -> None:
        """A call's message is larger than a call's client may send by itself."""

    def has_ready(self, call: Call) -> None:
        """The call has something to send."""

    def grant(self, call: Call, size: int) -> None:
        """Let the call's client send so many bytes more."""

    def give_up(self, call: Call) -> None:
        """The call is over, whether or not its client takes what is ready."""


class Call:
    """A call, from its headers to its status.

    Attributes:
        opening: headers that are to be sent; None once they are, or are part of the end.
        ready: bytes that are to be sent.
        closing: the trailers, once the call is over.
        is_over: whether its status is known, or its client gone; nothing is written after that.
        is_asked: whether its client has said everything.
    """

    def __init__(self, connection: Connected, stream: int, asked: Asked, limit: int):
        self.stream = stream
        self.method, self.encoding = asked.method, asked.encoding
        self.opening: Fields | None = None
        self.ready = Outgoing()
        self.closing: Fields | None = None
        self.is_begun = self.is_over = self.is_asked = self.is_queued = False
        self.task: asyncio.Task[None] | None = None
        self.serializer: Callable[[Any], bytes] | None = None
        self.deserializer: Callable[[bytes], Any] | None = None
        self._connection = connection
        self._metadata = asked.metadata
        self._inbox = Inbox(limit, asked.encoding)
        self._window, self._ahead = connection.window, WINDOW_BYTES
        self._came, self._came_since = 0, monotonic()
        # Of the room for far windows, for wider ones and for the message that comes.
        self._lent, self._widened = 0, 0
        # Its client may send more than there was room for.
        self._is_narrow = False
        self._loan = Loan(connection.running.room.unread)
        self._coming = asyncio.Event()
        self._code: Any = 0
        self._details = ""
        self._trailing: Metadata = ()
        self._left: list[Callable[[Any], None]] = []
        self._deadline: float | None = None
        self._expiry: asyncio.TimerHandle | None = None
        if asked.timeout is not None:
            self._deadline = monotonic() + asked.timeout
            self._expiry = connection.loop.call_later(asked.timeout, self._expire)

    # What handlers ask.

    def invocation_metadata(self) -> Metadata:
        return self._metadata

    def time_remaining(self) -> float | None:
        return None if self._deadline is None else max(0.0, self._deadline - monotonic())

    def peer(self) -> str:
        return self._connection.peer

    def cancelled(self) -> bool:
        return self.is_over and self.closing is None

    def done(self) -> bool:
        return self.is_over

    def code(self) -> Any:
        return self._code

    def details(self) -> str:
        return self._details

    def trailing_metadata(self) -> Metadata:
        return self._trailing

    def set_code(self, code: Code) -> None:
        self._code = code

    def set_details(self, details: str) -> None:
        self._details = details

    def set_trailing_metadata(self, metadata: Metadata) -> None:
        self._trailing = metadata

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        """Have it called once the client has its status, or is gone."""
        self._left.append(callback)

    async def send_initial_metadata(self, metadata: Metadata) -> None:
        if self.is_begun:
            raise grpc.aio.UsageError("The initial metadata has been sent.")
        self._begin(metadata)
        self._connection.has_ready(self)

    async def abort(self, code: Code, details: str = "", metadata: Metadata = ()) -> NoReturn:
        self._code, self._details = code, details
        if metadata:
            self._trailing = metadata
        raise grpc.aio.AbortError("The call was aborted.")

    # What comes.

    def put(self, data: bytes | memoryview, size: int) -> None:
        """More of its messages.

        Args:
            size: of it with its padding, as the window counts it.
        """
        self._window -= size
        self._came += size
        if data and not self.is_over:
            self._inbox.put(data)
            if self._is_narrow and self._inbox.held > FREE_BYTES + self._loan.size:
                self._have_room_or_end()
        self._coming.set()

    def end_requests(self) -> None:
        self.is_asked = True
        self._coming.set()

    def __aiter__(self) -> Call:
        return self

    async def read(self) -> Any:
        return await anext(self, grpc.aio.EOF)

    async def __anext__(self) -> Any:
        try:
            while (found := self._inbox.take()) is None:
                self._coming.clear()
                if self.is_asked:
                    if not self._inbox.is_empty:
                        raise BadCallError(Code.INTERNAL, "The call's last message ends early.")
                    raise StopAsyncIteration
                if self._came >= self._ahead < MOST_AHEAD_BYTES and not self.is_over:
                    self._look_ahead()
                if self._inbox.lacking > self._window:
                    await self._find_room()
                    self._connection.lacks()
                # Whoever waits has room for all that the message still lacks.
                self._grant(max(self._ahead, self._inbox.lacking))
                await self._coming.wait()
            self._grant(self._ahead - self._inbox.held)
            message = found if isinstance(found, bytes) else await self._whole(found)
            self._loan.give_back()
        except BadCallError as error:
            await self.abort(error.code, str(error))
        return message if self.deserializer is None else self.deserializer(message)

    @property
    async def thrown_away(self) -> AsyncIterator[bytes]:
        """For whoever refuses the call: pieces of what comes, instead of messages. None of it is
        kept, so it takes no room."""
        while not self.is_asked:
            if self._inbox.held:
                self._forget()
                yield b""
                continue
            self._coming.clear()
            self._grant(self._ahead)
            await self._coming.wait()

    async def _find_room(self) -> None:
        """Wait until there is room for all of the message that has begun.

        Raises:
            BadCallError: there is none for too long.
        """
        try:
            await self._loan.borrow(self._inbox.coming - self._ahead)
        except BusyError as error:
            raise BadCallError(TOO_LARGE, str(error)) from None
        if self.is_over:  # and whoever reads does not know yet
            self._loan.give_back()

    def _forget(self) -> None:
        """Nobody reads what has come."""
        self._inbox.clear()
        self._loan.give_back()

    async def _whole(self, found: Steps[bytes]) -> bytes:
        """A large message or a packed one; those that would be too much at once wait."""
        if not (size := self._inbox.swelling):
            return await in_turns(found)
        async with self._connection.running.room.unpacked.lent(size):
            return await in_turns(found)

    def _look_ahead(self) -> None:
        """The reader waits, and has read all that may come ahead: is that too little?"""
        now, running = monotonic(), self._connection.running
        if self._ahead < FAR_WINDOW_BYTES:
            if running.room.unread.lend(self._ahead):
                self._widened += self._ahead
                self._ahead *= 2
        # A line that brings it all in the time of its way there and back could bring more.
        elif now - self._came_since <= 2 * self._connection.delay and running.ahead.lend(
            self._ahead
        ):
            self._lent += self._ahead
            self._ahead *= 2
        self._came, self._came_since = 0, now

    def widen(self, size: int = 0) -> bool:
        """Its client may send more ahead, as all of its connection's; whether there is room.

        Args:
            size: what it could not send before.
        """
        self._window += size
        more = self._connection.window - self._ahead
        self._is_narrow = more > 0 and not self._connection.running.room.unread.lend(more)
        if more <= 0 or self._is_narrow:
            return not self._is_narrow
        self._widened += more
        self._ahead += more
        return True

    def _have_room_or_end(self) -> None:
        """More has come than is anybody's without a loan."""
        if not self.widen():
            self._code, self._details = TOO_LARGE, str(BusyError())
            self.finish()
            if self.task is not None:
                self.task.cancel()

    def _grant(self, window: int) -> None:
        """Let the client send up to so much; not each byte of it alone."""
        more = window - self._window
        if more >= WINDOW_BYTES // 4 and not (self.is_asked or self.is_over):
            self._window += more
            self._connection.grant(self, more)

    # What is sent.

    def write(self, message: Any) -> Awaitable[None]:
        return self.write_all((message,))

    async def write_all(self, messages: Iterable[Any]) -> None:
        """Send messages, in as few frames as they fit; waits while too much is ready.

        Raises:
            grpc.aio.InternalError: the call is over.
        """
        if self.is_over:
            raise grpc.aio.InternalError("The call is over.")
        self.write_now(messages)
        await asyncio.sleep(0)
        await self.ready.until_room()

    def write_at_once(self, messages: Sequence[Any], size: int) -> bool:
        """The same where it needs no waiting; whether that is done.

        Args:
            size: bytes of the messages.
        """
        if self.is_over or not self.ready.has_room(size):
            return False
        self.write_now(messages)
        return True

    def write_now(self, messages: Iterable[Any]) -> None:
        if self.serializer is not None:
            messages = map(self.serializer, messages)
        if not self.is_begun:
            self._begin(())
        self.ready.put(framed(messages))
        self._connection.has_ready(self)

    def _begin(self, metadata: Metadata) -> None:
        self.is_begun = True
        self.opening = OPENING + encode(metadata) if metadata else OPENING

    # How it ends.

    def finish(self) -> None:
        """Have the status sent, behind all that is ready."""
        if self.is_over:
            return
        self.is_over = True
        self._forget()
        code = self._code if isinstance(self._code, Code) else Code.OK
        self.closing = trailers(code, self._details, self._trailing)
        if not self.is_begun:
            self.is_begun, self.opening = True, None
            self.closing = OPENING + self.closing
        self._connection.has_ready(self)

    def gone(self) -> None:
        """There is nobody any more, or nothing left to send."""
        self.is_over = True
        self.ready.clear()
        self._forget()
        running = self._connection.running
        if self._widened:
            running.room.unread.take_back(self._widened)
            running.ahead.take_back(self._lent)
            self._lent = self._widened = 0
        if self._expiry is not None:
            self._expiry.cancel()
        if self.task is not None and not self.task.done():
            self.task.cancel()
        left, self._left = self._left, []
        for callback in left:
            callback(self)

    def _expire(self) -> None:
        if not self.is_over:
            self._code, self._details = Code.DEADLINE_EXCEEDED, "Deadline Exceeded"
            self._trailing = ()  # of an answer, which this is not
            self.finish()
        # Its client does not listen any longer, so what it has not taken is not kept.
        self._connection.give_up(self)
