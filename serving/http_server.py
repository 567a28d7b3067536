"""uvicorn, bounded: headers have a size and a time, peers that went without a word are noticed."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

# From a connection's opening, or a request's first byte, to the end of its headers.
HEADER_SECONDS = 30
HEADER_BYTES = 64 * 1024
# A peer that says nothing for this long is asked by TCP whether it is there.
PROBE_SECONDS = 30


class BoundedProtocol(HttpToolsProtocol):
    """HTTP/1.1 whose requests must come with headers of a bounded size, in a bounded time."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._header_bytes = 0
        self._too_late: asyncio.TimerHandle | None = None
        self._expect_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        self._headers_are_here()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        self._header_bytes = 0
        self._expect_headers()
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        self._bound(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._bound(len(name) + len(value))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._headers_are_here()
        if not self.transport.is_closing():
            super().on_headers_complete()

    def _bound(self, size: int) -> None:
        self._header_bytes += size
        if self._header_bytes > HEADER_BYTES:
            self.transport.abort()

    def _expect_headers(self) -> None:
        if self._too_late is None:
            self._too_late = self.loop.call_later(HEADER_SECONDS, self.transport.abort)

    def _headers_are_here(self) -> None:
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
            idle_seconds: how long sent data may go unread before the connection is given up.
        """
        config.http = BoundedProtocol
        super().__init__(config)
        self._idle_seconds = idle_seconds

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

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
                    milliseconds = int(self._idle_seconds * 1000)
                    listener.setsockopt(tcp, socket.TCP_USER_TIMEOUT, milliseconds)
