"""uvicorn, bounded: what a peer sends has a size and a time, what it does not read is given up."""

from __future__ import annotations

import asyncio
import functools
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from .gathered_writes import GatheredWrites
from .host import HostCheck

# From a connection's opening, or a request's first byte, to the end of its headers.
HEADER_SECONDS = 30
HEADER_BYTES = 64 * 1024
# What a field counts beside its text, as in HTTP/2: many empty ones take memory too.
FIELD_BYTES = 32
# How long the rest of a body is read, and thrown away, that was answered without it (a 413, say).
# Closed at once, the connection would be reset, and the client could lose the answer.
LINGER_SECONDS = 5
# Past the idle limit, which ends a call first: then it says so itself, before its connection goes.
SPARE_SECONDS = 2
# A peer that says nothing for this long is asked by TCP whether it is there.
PROBE_SECONDS = 30
# What a reader that does not read can leave in the kernel unsent: enough to keep a line busy, since
# what is under way does not count. Without it that is 4 MiB a connection.
UNSENT_BYTES = 256 * 1024
# After the drain: for the last bytes to leave. Whoever does not take them by then is cut off.
CLOSE_SECONDS = 5
# The key in an ASGI scope's extensions of a function that gives the connection up.
ABORT = "mlserver_streaming.abort"


class BoundedProtocol(HttpToolsProtocol):
    """HTTP/1.1 whose requests must come with headers of a bounded size, and in a bounded time."""

    def __init__(self, *arguments: Any, idle_seconds: float, **named: Any):
        """
        Args:
            idle_seconds: how long a request's body may take.
        """
        super().__init__(*arguments, **named)
        self._body_seconds = idle_seconds + SPARE_SECONDS

    def connection_made(self, transport: Any) -> None:
        if transport.get_extra_info("sslcontext") is not None:
            transport = GatheredWrites(transport, self.loop)
        super().connection_made(transport)
        self._header_bytes = 0
        # What came since the parser last had something to say: a field that does not end, for one.
        self._loose_bytes = 0
        self._in_body = False
        self._too_late: asyncio.TimerHandle | None = None
        self._expect(HEADER_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:
        self._has_come()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._loose_bytes += len(data)
        super().data_received(data)
        self._bound(0)

    def on_message_begin(self) -> None:
        self._header_bytes = self._loose_bytes = 0
        if self._too_late is None:
            self._expect(HEADER_SECONDS)
        super().on_message_begin()
        self.scope["extensions"] = {ABORT: {"abort": self.transport.abort}}

    def on_url(self, url: bytes) -> None:
        self._loose_bytes = 0
        self._bound(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._loose_bytes = 0
        self._bound(len(name) + len(value) + FIELD_BYTES)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._loose_bytes = 0
        self._in_body = True
        self._expect(self._body_seconds)
        if not self.transport.is_closing():
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._loose_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._loose_bytes = 0
        self._in_body = False
        self._has_come()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        if self._in_body:
            self._expect(LINGER_SECONDS)
        super().on_response_complete()

    def _bound(self, size: int) -> None:
        self._header_bytes += size
        if self._header_bytes + self._loose_bytes > HEADER_BYTES:
            self.transport.abort()

    def _expect(self, seconds: float) -> None:
        """Give the connection up unless, in so many seconds, the next part of a request is here."""
        self._has_come()
        self._too_late = self.loop.call_later(seconds, self.transport.abort)

    def _has_come(self) -> None:
        if self._too_late is not None:
            self._too_late.cancel()
            self._too_late = None


class HttpServer(uvicorn.Server):
    """A uvicorn server that leaves the signals to MLServer, which drains before it stops.

    uvicorn would close its listener at the first signal, and no probe could see the drain.
    """

    def __init__(self, config: uvicorn.Config, idle_seconds: float):
        """
        Args:
            idle_seconds: how long a body may take to come, and sent data may go unread, before the
                connection is given up.
        """
        http: Any = functools.partial(BoundedProtocol, idle_seconds=idle_seconds)
        config.http = http
        app: Any = config.app
        config.app = HostCheck(app)
        # Nothing here speaks them: what asks for one is an HTTP request like any other.
        config.ws = "none"
        config.timeout_graceful_shutdown = CLOSE_SECONDS
        super().__init__(config)
        self._idle_seconds = idle_seconds

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        # uvicorn would break off at a second one, SIGINT: tasks are cancelled then, and each says
        # so in the log. CLOSE_SECONDS bounds the exit as it is.
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for server in self.servers:
            for listener in server.sockets:
                # Connections inherit these from the socket that accepts them.
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux
                    tcp = socket.IPPROTO_TCP
                    listener.setsockopt(tcp, socket.TCP_KEEPIDLE, PROBE_SECONDS)
                    listener.setsockopt(tcp, socket.TCP_KEEPINTVL, PROBE_SECONDS)
                    milliseconds = int((self._idle_seconds + SPARE_SECONDS) * 1000)
                    listener.setsockopt(tcp, socket.TCP_USER_TIMEOUT, milliseconds)
                    listener.setsockopt(tcp, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)
