"""Answers under way: uvicorn's own, which tell when their client is gone, and end their connections
where they must."""

import asyncio
import re
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from time import perf_counter
from typing import Any

from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from ..streams.headers import KEPT_NAMES, Field, lines_of
from ..streams.room import RequestRoom
from .gathered_writes import write_now

# What would end a field, or begin another (RFC 9110, 5.1 and 5.5).
NOT_IN_NAMES = re.compile(rb"[^!#$%&'*+.^_`|~0-9A-Za-z-]")
NOT_IN_VALUES = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
# The fields that say how a message travels.
OF_THE_MESSAGE = frozenset((b"connection", b"content-length", b"transfer-encoding"))
# What ends a head whose body comes in chunks.
CHUNKED = b"transfer-encoding: chunked\r\n\r\n"
# The key in an ASGI scope's extensions of the answer under way.
ANSWER = "mlserver_streaming.answer"


class Cycle(RequestResponseCycle):
    """An answer under way.

    Attributes:
        on_hang_up: called, once, when the client goes before it has the whole answer.
        status: the answer's; 0 as long as there is none.
        written: when the last piece of it was, by `perf_counter`.
        is_in_pieces: whether its app reads the request's body as it comes, however long that takes.
        broken_off: why no more of the body comes, where that is not its end.
        taken_in_pieces: told when `is_in_pieces` becomes true.
        room: what requests may have until they are whole.
    """

    on_hang_up: Callable[[], None] | None = None
    status = 0
    written = 0.0
    is_in_pieces = False
    broken_off = ""
    taken_in_pieces: Callable[[Any], None]
    room: RequestRoom
    _is_disconnected = False
    _head: bytes | None = None
    _has_chunks = _has_length = True

    @property
    def has_body(self) -> bool:
        """Whether the request's body is all here."""
        return not (self.more_body or self.waiting_for_100_continue or self._is_disconnected)

    def take_body(self) -> bytes | None:
        """The request's body, if it is all here: what `receive` would give, with nothing to wait
        for. None where it is not."""
        if not self.has_body:
            return None
        body, self.body = bytes(self.body), bytearray()
        self.flow.resume_reading()
        self.message_event.clear()
        return body

    def take_in_pieces(self) -> None:
        """Read the request's body as it comes: `receive` gives it piece by piece, with no bound on
        the time it takes, and its end where it is broken off."""
        self.is_in_pieces = True
        self.taken_in_pieces(self)

    def break_off(self, why: str) -> None:
        """No more of the request's body comes; its app is to say so, after what it has to say."""
        self.broken_off, self.more_body = why, False
        self.message_event.set()

    async def send(self, message: Any) -> None:
        """As uvicorn's, but a head leaves with the first piece of its body, in one write, where
        that comes in the same turn of the loop."""
        kind = message["type"]
        if not self.response_started and kind == "http.response.start":
            self.status = message["status"]
            self._head = self._written_head(self.status, message.get("headers", ()))
            asyncio.get_running_loop().call_soon(self._begin)
            return
        if self.flow.write_paused and not self._is_disconnected:
            await self.flow.drain()
        self.written = perf_counter()
        if self._is_disconnected:
            return
        if kind != "http.response.body" or self._head is None or self.response_complete:
            raise RuntimeError(f"'{kind}' cannot come now in this answer.")
        body, more = message.get("body", b""), message.get("more_body", False)
        if self.scope["method"] == "HEAD":
            self.expected_content_length, body = 0, b""
        elif self.chunked_encoding:
            chunk = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            body = chunk if more else chunk + b"0\r\n\r\n"
        elif self._has_length:
            self.expected_content_length -= len(body)
            if self.expected_content_length < 0:
                raise RuntimeError("The answer is longer than its Content-Length.")
        if not self.response_started:
            body = self._taken_head() + body
        if body:
            self.transport.write(body)
        if more:
            return
        if self.expected_content_length != 0:
            raise RuntimeError("The answer is shorter than its Content-Length.")
        self._end()

    def answer(self, fields: Iterable[Field], body: bytes) -> bool:
        """Send a whole answer, and at once: what two `send` do. Not where one must wait to write.

        Args:
            fields: its headers, its Content-Length and a name in lower case each.

        Returns:
            Whether it is sent, or there is nobody to send it to.
        """
        if self.flow.write_paused or self.response_started:
            return False
        self.status = 200
        head = self._written_head(200, fields)
        self.written = perf_counter()
        if not self._is_disconnected:
            self._head = head
            self.transport.write(self._taken_head() + body)
            self._end()
        return True

    def begin(
        self,
        fields: Iterable[Field],
        piece: bytes,
        lines: bytes | None = None,
        at_once: bool = True,
    ) -> bool:
        """Send the head of an answer of unknown length, and the first piece of its body, and at
        once: what two `send` do. Not where one must wait to write, or a body has no chunks.

        Args:
            fields: its headers, none of which says how long it is.
            lines: the same as they are written, where somebody knows that.
            at_once: whether it is not to wait for what else is written in this round of the loop.

        Returns:
            Whether it is sent, or there is nobody to send it to.
        """
        if self.flow.write_paused or self._head is not None or self.response_started:
            return False
        if not self._has_chunks or self.scope["method"] == "HEAD":
            return False
        self.status = 200
        own = _DEFAULT.lines(self.default_headers)
        if lines is None or own is None or not self.keep_alive:
            self._head = self._written_head(200, fields)
        else:
            self.chunked_encoding = True
            self._head = b"%b%b%b%b" % (STATUS_LINE[200], own, lines, CHUNKED)
        self.written = perf_counter()
        if not self._is_disconnected:
            first = b"%b%x\r\n%b\r\n" % (self._taken_head(), len(piece), piece)
            if at_once:
                write_now(self.transport, first)
            else:
                self.transport.write(first)
        return True

    def answer_json(self, lines: bytes, body: bytes) -> bool:
        """As `answer` with JSON, its other headers written already."""
        if self.flow.write_paused or self.response_started or self.waiting_for_100_continue:
            return False
        own = _DEFAULT.lines(self.default_headers)
        if own is None or not self.keep_alive:
            return False
        self.status = 200
        self.written = perf_counter()
        if not self._is_disconnected:
            self.response_started, self.expected_content_length = True, 0
            self.transport.write(
                b"%b%b%bcontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
                % (STATUS_LINE[200], own, lines, len(body), body)
            )
            self._end()
        return True

    def write(self, piece: bytes, last: bool = False) -> bool:
        """Send a piece of the body that is not its first, and at once, as `send` does.

        Args:
            piece: may be empty where it is the last.

        Returns:
            Whether it is sent, or there is nobody to send it to; not where one must wait to write.
        """
        if not self.response_started or self.response_complete or self.flow.write_paused:
            return False
        if not self.chunked_encoding:
            return False
        self.written = perf_counter()
        if not self._is_disconnected:
            chunk = b"%x\r\n%b\r\n" % (len(piece), piece) if piece else b""
            self.transport.write(chunk + b"0\r\n\r\n" if last else chunk)
            if last:
                self._end()
        return True

    def _end(self) -> None:
        self.response_complete = True
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()

    def _begin(self) -> None:
        """The body is not there yet; its head does not wait."""
        if not self.response_started and not self.disconnected:
            self.transport.write(self._taken_head())

    def _taken_head(self) -> bytes:
        self.response_started = True
        self.waiting_for_100_continue = False
        return self._head or b""

    def _written_head(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
        head = [STATUS_LINE[status]]
        closes = False
        self.chunked_encoding = None
        values = []
        for given, value in (*self.default_headers, *headers):
            name = _field_name(given)
            if name in OF_THE_MESSAGE:
                if name == b"connection":
                    closes = b"close" in [token.strip() for token in value.lower().split(b",")]
                elif name == b"content-length":
                    if self.chunked_encoding is None:
                        self.expected_content_length = int(value)
                        self.chunked_encoding = False
                elif value.lower() == b"chunked":
                    self.expected_content_length = 0
                    self.chunked_encoding = True
            values.append(value)
            head.append(b"%b: %b\r\n" % (name, value))
        if NOT_IN_VALUES.search(b" ".join(values)):
            raise RuntimeError("A header has a value that cannot be sent.")
        if closes:
            self.keep_alive = False
        elif not self.keep_alive:
            head.append(b"connection: close\r\n")
        has_body = self.scope["method"] != "HEAD" and status not in (204, 304)
        if self.chunked_encoding is None and has_body:
            if self._has_chunks:
                self.chunked_encoding = True
                head.append(b"transfer-encoding: chunked\r\n")
            else:
                self._has_length = False
        head.append(b"\r\n")
        return b"".join(head)

    @property
    def disconnected(self) -> bool:
        return self._is_disconnected

    @disconnected.setter
    def disconnected(self, gone: bool) -> None:
        # Told by uvicorn and by our protocol of the same connection: a task that is cancelled twice
        # does not end quietly.
        before, self._is_disconnected = self._is_disconnected, gone
        if gone:
            self.waiting_for_100_continue = False  # nobody does; its connection may be ended
        if gone and not before and self.on_hang_up is not None:
            self.on_hang_up()


def answer_to(scope: Scope) -> Cycle | None:
    """The answer under way to a request; None where another server serves it."""
    answer = (scope.get("extensions") or {}).get(ANSWER)
    cycle: Cycle | None = answer and answer["cycle"]
    return cycle


@lru_cache(KEPT_NAMES)
def _field_name(given: bytes) -> bytes:
    if not given or NOT_IN_NAMES.search(given):
        raise RuntimeError(f"The header {given!r} has a name that cannot be sent.")
    return given.lower()


class _DefaultLines:
    """What uvicorn adds to each answer, as it is written: another list once a second."""

    def __init__(self) -> None:
        self._of: Sequence[Field] = ()
        self._lines: bytes | None = b""

    def lines(self, fields: Sequence[Field]) -> bytes | None:
        """None where they say how a message travels, or cannot be sent."""
        if fields is not self._of:
            fit = all(
                not NOT_IN_NAMES.search(name)
                and name
                and name.lower() not in OF_THE_MESSAGE
                and not NOT_IN_VALUES.search(value)
                for name, value in fields
            )
            lines = lines_of((name.lower(), value) for name, value in fields)
            self._of, self._lines = fields, lines if fit else None
        return self._lines


_DEFAULT = _DefaultLines()


class UnframedCycle(Cycle):
    """An answer to HTTP/1.0, which knows no chunks: one of unknown length ends with its connection.

    https://www.rfc-editor.org/rfc/rfc9112#section-6.1
    """

    _has_chunks = False


class RefusingCycle(Cycle):
    """An answer to who waits for `100 Continue`: without one, nobody knows what it will send next.

    Its body, or another request that would be taken for the body; RFC 9110, 10.1.1 allows for both.
    """

    async def send(self, message: Any) -> None:
        if self.waiting_for_100_continue:
            self.keep_alive = False
        await super().send(message)

    def answer(self, fields: Iterable[Field], body: bytes) -> bool:
        if self.waiting_for_100_continue:
            self.keep_alive = False
        return super().answer(fields, body)

    def begin(
        self,
        fields: Iterable[Field],
        piece: bytes,
        lines: bytes | None = None,
        at_once: bool = True,
    ) -> bool:
        if self.waiting_for_100_continue:
            self.keep_alive = False
        return super().begin(fields, piece, lines, at_once)
