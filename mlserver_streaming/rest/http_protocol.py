"""HTTP/1.1 as RFC 9112 has it: uvicorn's protocol, with bounds of our own.

What a message asks for is looked at in request_check.py; here it is read, and its connection kept
or closed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeGuard

import httptools
import orjson
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from ..streams.room import RequestRoom
from .cycles import ANSWER, Cycle, RefusingCycle, UnframedCycle
from .gathered_writes import GatheredWrites
from .half_closed import HalfClosed
from .keep_alive import KeepAlive
from .lingering import Lingering
from .segments import told_apart

# From a connection's opening, or a request's first byte, to the end of its headers.
HEADER_SECONDS = 30
HEADER_BYTES = 64 * 1024
# What a field counts beside its text, as in HTTP/2: many empty ones take memory too.
FIELD_BYTES = 32
# How long the rest of what a client sends is read, and thrown away, that was answered without it (a
# 413, say). Closed at once, the connection would be reset, and the client could lose the answer.
LINGER_SECONDS = 5
# Past the idle limit, which ends a call first: then it says so itself, before its connection goes.
SPARE_SECONDS = 2
# When the server stops: for a request that is under way to an idle connection.
LAST_SECONDS = 0.1
# The key in an ASGI scope's extensions of a function that gives the connection up.
ABORT = "mlserver_streaming.abort"

# Whether there is a WebSocket at a request's path.
Upgrades = Callable[[str], bool]


def nowhere(path: str) -> bool:
    """There is none."""
    return False


class HttpProtocol(HttpToolsProtocol):
    """One connection: its requests must come with headers of a bounded size, in a bounded time."""

    def __init__(
        self,
        *arguments: Any,
        idle_seconds: float,
        room: RequestRoom,
        upgrades: Upgrades = nowhere,
        **named: Any,
    ):
        """
        Args:
            idle_seconds: how long a request's body may take.
            room: what requests may have until they are whole.
            upgrades: whether there is a WebSocket at a path.
        """
        super().__init__(*arguments, **named)
        self.parser = self._new_parser()
        self._room = room
        self._upgrades = upgrades
        self._body_seconds = idle_seconds + SPARE_SECONDS

    def connection_made(self, transport: Any) -> None:
        if transport.get_extra_info("sslcontext") is not None:
            transport = GatheredWrites(transport, self.loop)
        super().connection_made(transport)
        self._header_bytes = 0
        # What came since the parser last had something to say: a field that does not end, for one.
        self._loose_bytes = 0
        self._in_head = self._in_body = False
        # Whatever else comes is thrown away.
        self._is_deaf = False
        # Whatever request comes is the last.
        self._is_last = False
        self._answering: RequestResponseCycle | None = None
        self._half_closed: HalfClosed | None = None
        self._too_late: asyncio.TimerHandle | None = None
        # In so many seconds, from when all that has come is read.
        self._expected: float | None = None
        self._is_reading = False
        self._keep_alive = KeepAlive(
            self.loop, self.timeout_keep_alive, self.timeout_keep_alive_handler
        )
        self._expect(HEADER_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:
        self._has_come()
        self._keep_alive.stop()
        if self._half_closed is not None:
            self._half_closed.stop()
        super().connection_lost(exc)
        # uvicorn tells the last request's app, which may be waiting for its turn.
        if self._answering is not None and not self._answering.response_complete:
            self._answering.disconnected = True
            self._answering.message_event.set()

    def data_received(self, data: bytes) -> None:
        if self._is_deaf:
            return
        self._keep_alive.end()
        self._loose_bytes += len(data)
        self._is_reading = True
        try:
            self._feed(memoryview(data))
        except httptools.HttpParserError as error:
            if not self.transport.is_closing():
                self.logger.warning("Invalid HTTP request received.")
                self._refuse(f"This is not HTTP/1.1 (RFC 9112): {_reason(error)}.")
        finally:
            self._is_reading = False
        if self._expected is not None:
            self._expect(self._expected)
        self._bound(0)

    def _feed(self, data: memoryview) -> None:
        """Parse; who asks to upgrade is served as if it had not (RFC 9110, 7.8), unless it asks for
        a WebSocket where there is one.

        llhttp takes all that comes after the head of such a request for another protocol, and
        httptools leaves no choice: it says where that begins, and has done with the request. So a
        new parser gets the same head, as the first has understood it, less the field that asks; to
        take that out of the bytes before they are parsed would need a parser too, and two never
        quite agree.
        """
        while True:
            try:
                self.parser.feed_data(data)
                return
            except httptools.HttpParserUpgrade as upgrade:
                (read,) = upgrade.args
                data = data[read:]
                if self.parser.get_method() == b"CONNECT":
                    self._refuse("CONNECT is for proxies, and this is none.")
                    return
                if self._is_websocket():
                    self._upgrade(bytes(data))
                    return
                version = self.parser.get_http_version().encode()
                lines = [b"%b %b HTTP/%b" % (self.parser.get_method(), self.url, version)]
                lines += [b"%b: %b" % field for field in self.headers if field[0] != b"upgrade"]
                self.parser = self._new_parser()
                self.parser.feed_data(b"\r\n".join([*lines, b"", b""]))

    def _is_websocket(self) -> bool:
        """Whether the request whose head has come asks for a WebSocket where there is one.

        https://www.rfc-editor.org/rfc/rfc6455#section-4.2.1
        """
        busy = self.cycle is not None and not self.cycle.response_complete
        if busy or self.parser.get_method() != b"GET" or not self._should_upgrade():
            return False
        if self.parser.get_http_version() != "1.1":
            return False
        path: bytes = httptools.parse_url(_with_path(self.url)).path
        return self._upgrades(told_apart(path))

    def _upgrade(self, data: bytes) -> None:
        """Hand the connection over, and what has come of it behind the request's head."""
        self._has_come()
        self._keep_alive.stop()
        self._is_deaf = True
        self.scope["method"], self.scope["headers"] = "GET", self.headers
        # The other protocol knows no target that is a URL (RFC 9112, 3.2.2).
        url = httptools.parse_url(_with_path(self.url))
        self.url = url.path + (b"?" + url.query if url.query else b"")
        self.handle_websocket_upgrade()
        protocol: Any = self.transport.get_protocol()
        if data:
            protocol.data_received(data)
        # The two hold one another, and would be kept as long as the collector likes.
        self.parser = None  # type: ignore[assignment]

    def _new_parser(self) -> httptools.HttpRequestParser:
        parser = httptools.HttpRequestParser(self)
        parser.set_dangerous_leniencies(
            # What is pipelined behind a last request is not answered; uvicorn sees to that.
            lenient_data_after_close=True,
            # HTTP/1.2 is read as 1.1 (RFC 9110, 2.5); what other major versions cannot have here,
            # request_check.py says.
            lenient_version=True,
        )
        return parser

    def eof_received(self) -> bool:  # type: ignore[override]
        """Whether to go on: a client that has no more to say may still read."""
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is None or cycle.response_complete or (self._in_body and not _in_pieces(cycle)):
            cycle = None
        if cycle is not None and cycle.disconnected:  # it was refused
            cycle = None
        if (self._in_head or self._in_body) and not self._is_deaf:
            self._refuse("The request is cut off: its sender closed the connection amid it.")
        if cycle is None or not HalfClosed.can_be_asked(cycle):
            return False
        self._is_deaf, cycle.keep_alive, cycle.transport = True, False, self.transport
        self._half_closed = HalfClosed(self.transport, self.loop, lambda: self._answering)
        return True

    def on_message_begin(self) -> None:
        self._header_bytes = self._loose_bytes = 0
        self._in_head = True
        if self._too_late is None and self._expected is None:
            self._expect(HEADER_SECONDS)
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        self._loose_bytes = 0
        self._header_bytes += len(url)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._loose_bytes = 0
        self._header_bytes += len(name) + len(value) + FIELD_BYTES
        if self._in_body:  # a trailer is no header (RFC 9110, 6.5.1); nothing here reads one
            self._bound(0)
        else:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._loose_bytes = 0
        if self.parser.should_upgrade():
            return  # it comes again: _feed
        self._in_head, self._in_body = False, True
        self._bound(0)
        self._expect(self._body_seconds)
        if self.transport.is_closing():
            return
        is_old = self.parser.get_http_version() < "1.1"
        if is_old:
            self.expect_100_continue = False  # RFC 9110, 10.1.1
        self.url = _with_path(self.url)
        super().on_headers_complete()
        # Until its body is here.
        self.cycle.transport = Lingering(self.transport, self._linger)  # type: ignore[assignment]
        kind = RefusingCycle if self.expect_100_continue else Cycle
        self.cycle.__class__ = UnframedCycle if is_old else kind
        if self._is_last:
            self.cycle.keep_alive = False
        self.cycle.taken_in_pieces = self._take_in_pieces  # type: ignore[attr-defined]
        self.cycle.room = self._room  # type: ignore[attr-defined]
        self.scope["extensions"] = {
            ABORT: {"abort": self.transport.abort},
            ANSWER: {"cycle": self.cycle},
        }

    def _take_in_pieces(self, cycle: Cycle) -> None:
        """A body may take its time: its call ends when it is idle."""
        if self._in_body and cycle is self.cycle:
            self._has_come()

    def shutdown(self) -> None:
        """The server stops. Closed now, with a request in the kernel, the connection would be
        reset; so what comes at once has its answer yet, and is told that it is the last."""
        self._is_last = True
        if self.cycle is None or self.cycle.response_complete:
            self.loop.call_later(LAST_SECONDS, super().shutdown)
        else:
            super().shutdown()

    def on_body(self, body: bytes) -> None:
        self._loose_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._loose_bytes = 0
        if self.parser.should_upgrade() or self.transport.is_closing():
            return
        self._in_body = False
        self._has_come()
        super().on_message_complete()
        self.cycle.transport = self.transport
        if self.cycle.response_complete:  # the next request is as if it were the first
            self._expect(HEADER_SECONDS)

    def on_response_complete(self) -> None:
        if self._in_body:
            self._expect(LINGER_SECONDS)
        # As uvicorn's, with one timer for all pauses.
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        else:
            self._keep_alive.begin()

    def _unset_keepalive_if_required(self) -> None:
        self._keep_alive.end()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._answering = cycle
        self.tasks.add(self.loop.create_task(self._answered(cycle, app)))

    async def _answered(self, cycle: RequestResponseCycle, app: Any) -> None:
        # Not by a callback of its end, as uvicorn's: that is a round of the loop more.
        try:
            await cycle.run_asgi(app)
        finally:
            self.tasks.discard(asyncio.current_task())
            # What the answer and its scope, and it and its connection, hold of one another would
            # keep them all until the collector of cycles finds them.
            cycle.scope["extensions"] = {}
            cycle.taken_in_pieces = None  # type: ignore[attr-defined]

    def _refuse(self, message: str) -> None:
        """What comes is no request, and where the next would begin is anybody's guess."""
        cycle, self._is_deaf = self.cycle, True
        if not self._in_body and cycle is not None and not cycle.response_complete:
            # A request before it has its answer first, and that is the last.
            self._has_come()
            cycle.keep_alive = False
            cycle.transport = Lingering(self.transport, self._linger)  # type: ignore[assignment]
            return
        if self._in_body and cycle is not None:
            if _in_pieces(cycle) and not cycle.response_complete:
                cycle.keep_alive = False
                cycle.break_off(message)
                return
            if cycle.response_started:
                self.transport.close()
                return
            cycle.disconnected = True
            cycle.message_event.set()
        status = b"400 Bad Request"
        if self.parser.get_method() == b"PRI":  # what HTTP/2 begins with
            status = b"505 HTTP Version Not Supported"
            message = "HTTP/2 is not spoken here; send HTTP/1.1."
        body = orjson.dumps({"error": message})
        fields = [
            *self.server_state.default_headers,
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            (b"connection", b"close"),
        ]
        lines = [b"HTTP/1.1 " + status, *(b"%b: %b" % field for field in fields), b"", body]
        self.transport.write(b"\r\n".join(lines))
        self._linger()

    def _linger(self) -> None:
        """Close, once the client has had the time to read."""
        self._is_deaf = True
        self.flow.resume_reading()
        self._expect(LINGER_SECONDS)
        if self.transport.can_write_eof():
            with suppress(OSError):  # asyncio's own, of who is gone and not yet seen to be
                self.transport.write_eof()

    def _bound(self, size: int) -> None:
        self._header_bytes += size
        if self._header_bytes + self._loose_bytes > HEADER_BYTES:
            self.transport.abort()

    def _expect(self, seconds: float) -> None:
        """Give the connection up unless, in so many seconds, the next part of a request is here."""
        self._has_come()
        if self._is_reading:
            # It may be in what is read now, and most often is.
            self._expected = seconds
        else:
            self._too_late = self.loop.call_later(seconds, self.transport.abort)

    def _has_come(self) -> None:
        self._expected = None
        if self._too_late is not None:
            self._too_late.cancel()
            self._too_late = None


def _in_pieces(cycle: Any) -> TypeGuard[Cycle]:
    """Whether its app reads a request's body as it comes."""
    return isinstance(cycle, Cycle) and cycle.is_in_pieces


def _reason(error: httptools.HttpParserError) -> str:
    if isinstance(error, httptools.HttpParserCallbackError):
        return "its target is no path or URL"
    return str(error)


def _with_path(target: bytes) -> bytes:
    """A target that is a URL may leave its path out (RFC 9112, 3.2.1)."""
    if target.startswith((b"/", b"*")):
        return target
    url = httptools.parse_url(target)
    if url.path is not None:
        return target
    return b"/?" + url.query if url.query else b"/"
