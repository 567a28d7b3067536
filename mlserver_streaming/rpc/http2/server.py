"""The server: its ports, its handlers and interceptors, its start and stop."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import grpc

from ...access.tls import Certificates
from ...streams.room import RequestRoom
from .answering import Find, chained
from .connection import BEGIN_SECONDS, Connection
from .running import Bounds, Running

BACKLOG = 1024
# After the last status, until clients have it and have closed.
LINGER_SECONDS = 2.0


class Http2Server(grpc.aio.Server):
    """As `grpc.aio.server` gives one.

    Args:
        certificates: what ports listen with; None without TLS.
        room: what requests may have until they are whole.
    """

    def __init__(
        self,
        interceptors: Sequence[grpc.aio.ServerInterceptor],
        options: Sequence[tuple[str, Any]],
        certificates: Certificates | None,
        room: RequestRoom,
    ):
        self._running = Running(Bounds.of(options), room)
        self._find: Find = chained(interceptors, self._handler)
        self._certificates = certificates
        self._handlers: list[grpc.GenericRpcHandler] = []
        self._registered: dict[str, Any] = {}
        self._ports: list[socket.socket] = []
        self._listening: list[asyncio.Server] = []
        self._ended = asyncio.Event()

    def add_generic_rpc_handlers(self, handlers: Any) -> None:
        self._handlers += handlers

    def add_registered_method_handlers(self, service: str, handlers: Any) -> None:
        self._registered |= {f"/{service}/{name}": each for name, each in handlers.items()}

    async def _handler(self, details: Any) -> Any:
        found = self._registered.get(details.method)
        if found is not None:
            return found
        for handler in self._handlers:
            found = handler.service(details)
            if found is not None:
                return found
        return None

    def add_insecure_port(self, address: str) -> int:
        """Take a port; nobody is let in before `start`.

        Raises:
            RuntimeError: it is taken, or the address is none.
        """
        host, _, port = address.rpartition(":")
        try:
            found = socket.getaddrinfo(
                host.strip("[]"), int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )
            family, kind, protocol, _, name = found[0]
            taken = socket.socket(family, kind, protocol)
        except OSError as error:
            raise RuntimeError(f"cannot listen on {address}: {error.strerror}") from error
        try:
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                # As gRPC does: `[::]` is IPv4 too.
                taken.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            taken.bind(name)
            taken.listen(BACKLOG)
            taken.setblocking(False)
        except OSError as error:
            taken.close()
            raise RuntimeError(f"cannot listen on {address}: {error.strerror}") from error
        self._ports.append(taken)
        bound: int = taken.getsockname()[1]
        return bound

    def add_secure_port(self, address: str, credentials: Any = None) -> int:
        """The same: the certificates are the server's."""
        return self.add_insecure_port(address)

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        tls: dict[str, Any] = {}
        if self._certificates is not None:
            tls = {
                "ssl": self._certificates.context(http2=True),
                "ssl_handshake_timeout": BEGIN_SECONDS,
            }
        for port in self._ports:
            listening = await loop.create_server(
                lambda: Connection(self._running, self._find), sock=port, backlog=BACKLOG, **tls
            )
            self._listening.append(listening)

    async def stop(self, grace: float | None) -> None:
        """Let nobody in any more, and what runs go on for so many seconds; then end it."""
        for listening in self._listening:
            listening.close()
        for port in self._ports:
            port.close()
        if self._ended.is_set():
            return
        for connection in tuple(self._running.connections):
            connection.leave()
        with suppress(TimeoutError):
            async with asyncio.timeout(grace or 0):
                await self._running.until_idle()
        for connection in tuple(self._running.connections):
            connection.cut_off()
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER_SECONDS):
                await self._running.until_empty()
        self._ended.set()

    async def wait_for_termination(  # the base class's
        self,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> bool:
        try:
            async with asyncio.timeout(timeout):
                await self._ended.wait()
        except TimeoutError:
            return False
        return True
