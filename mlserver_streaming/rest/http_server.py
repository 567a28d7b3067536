"""uvicorn, bounded: what a peer sends has a size and a time, what it does not read is given up."""

from __future__ import annotations

import asyncio
import functools
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

import uvicorn

from ..settings import LimitSettings
from ..streams.room import RequestRoom
from .body import MAX_BODY_BYTES
from .http_protocol import SPARE_SECONDS, HttpProtocol, Upgrades, nowhere
from .proxy_headers import ProxyHeaders
from .request_check import RequestCheck
from .websocket_protocol import WebSocketProtocol

# A peer that says nothing for this long is asked by TCP whether it is there.
PROBE_SECONDS = 30
# What a reader that does not read can leave in the kernel unsent: enough to keep a line busy, since
# what is under way does not count. Without it that is 4 MiB a connection.
UNSENT_BYTES = 256 * 1024
# After the drain: for the last bytes to leave. Whoever does not take them by then is cut off.
CLOSE_SECONDS = 5
# Proxies close what is silent for a minute.
PING_SECONDS = 15.0


class HttpServer(uvicorn.Server):
    """A uvicorn server that leaves the signals to MLServer, which drains before it stops.

    uvicorn would close its listener at the first signal, and no probe could see the drain.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        idle_seconds: float,
        upgrades: Upgrades = nowhere,
        message_bytes: int = MAX_BODY_BYTES,
        ping_seconds: float = PING_SECONDS,
        room: RequestRoom | None = None,
    ):
        """
        Args:
            idle_seconds: how long a body may take to come, and sent data may go unread, before the
                connection is given up.
            upgrades: whether there is a WebSocket at a path.
            message_bytes: how large a WebSocket's message may be.
            ping_seconds: how often a WebSocket's peer is asked whether it is there.
            room: what requests may have until they are whole; None for its own.
        """
        room = room or RequestRoom(LimitSettings())
        http: Any = functools.partial(
            HttpProtocol, idle_seconds=idle_seconds, room=room, upgrades=upgrades
        )
        config.http = http
        app: Any = config.app
        app = RequestCheck(app)
        if config.proxy_headers:
            app, config.proxy_headers = ProxyHeaders(app, config.forwarded_allow_ips), False
        # uvicorn would take what has no coroutine of its own for an app of ASGI 2.
        config.app, config.interface = app, "asgi3"
        sockets: Any = functools.partial(WebSocketProtocol, room=room.unread)
        config.ws = sockets
        config.ws_max_size = message_bytes
        config.ws_ping_interval = ping_seconds
        # One that reads slowly answers late; one that is gone is TCP's to find, and ours to end.
        config.ws_ping_timeout = None
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

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self._take_last()
        await super().shutdown(sockets)

    async def _take_last(self) -> None:
        """Close the listeners, and serve the connections that wait there: the kernel would reset
        those, though their clients have been told that they are connected."""
        loop, config = asyncio.get_running_loop(), self.config
        kind: Any = config.http_protocol_class
        make = functools.partial(
            kind,
            config=config,
            server_state=self.server_state,
            app_state=self.lifespan.state,
        )
        last = []
        for server in self.servers:
            for listener in server.sockets:
                # The loop's own cannot accept by hand.
                queue = socket.socket(fileno=os.dup(listener.fileno()))
                with queue, suppress(BlockingIOError):
                    while True:
                        last.append(queue.accept()[0])
                        last[-1].setblocking(False)
            server.close()
        taken = (loop.connect_accepted_socket(make, each, ssl=config.ssl) for each in last)
        with suppress(TimeoutError):  # of who does not shake hands
            async with asyncio.timeout(CLOSE_SECONDS):
                await asyncio.gather(*taken, return_exceptions=True)
