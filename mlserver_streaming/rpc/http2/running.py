"""What runs in one server, and what is allowed."""

from __future__ import annotations

import asyncio
from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import Any

from ...streams.room import RequestRoom, Room

# Of all connections, for each call that one may have.
CONNECTIONS = 8
# What all calls together may have sent ahead, beyond what each may.
AHEAD_BYTES = 64 * 1024 * 1024
# How long a call may take until its request is whole, where it has but one.
REQUEST_SECONDS = 300.0
# Of a message to a method that needs no key: a service's name.
OPEN_BYTES = 64 * 1024


@dataclass(frozen=True)
class Bounds:
    """What is allowed, by grpc.aio's options and two of our own.

    Attributes:
        message_bytes: of one message of a client.
        calls: of one connection at once.
        age_seconds: how old a connection may become before its client is sent away; None: any.
        age_grace_seconds: what its calls get then.
        request_seconds: until a call's only request is whole.
        open_methods: those that anybody may call: their messages have what any client may send by
            itself, so that nobody without a key takes room from others.
    """

    message_bytes: int
    calls: int
    keepalive_seconds: float
    keepalive_timeout_seconds: float
    age_seconds: float | None = None
    age_grace_seconds: float = 0.0
    request_seconds: float = REQUEST_SECONDS
    open_methods: Container[str] = ()

    @classmethod
    def of(cls, options: Sequence[tuple[str, Any]]) -> Bounds:
        given = dict(options)
        age = given.get("grpc.max_connection_age_ms")
        return cls(
            message_bytes=given["grpc.max_receive_message_length"],
            calls=given["grpc.max_concurrent_streams"],
            keepalive_seconds=given["grpc.keepalive_time_ms"] / 1000,
            keepalive_timeout_seconds=given["grpc.keepalive_timeout_ms"] / 1000,
            age_seconds=None if age is None else age / 1000,
            age_grace_seconds=given.get("grpc.max_connection_age_grace_ms", 0) / 1000,
            request_seconds=given.get("request_seconds", REQUEST_SECONDS),
            open_methods=given.get("open_methods", ()),
        )

    def message_bytes_of(self, method: str) -> int:
        """What a message of a call may have."""
        if method in self.open_methods:
            return min(OPEN_BYTES, self.message_bytes)
        return self.message_bytes


class Running:
    """The connections of a server, and what all of them have.

    Attributes:
        ahead: room for what calls whose readers wait may have sent ahead.
        room: for messages that are not whole, with wider windows, and for those that are being
            unpacked.
    """

    def __init__(self, bounds: Bounds, room: RequestRoom):
        self.bounds = bounds
        self.connections: set[Any] = set()
        self._calls = 0
        self.ahead = Room(AHEAD_BYTES)
        self.room = room
        self._is_idle, self._is_empty = asyncio.Event(), asyncio.Event()
        self._is_idle.set()
        self._is_empty.set()

    def join(self, connection: Any) -> None:
        self.connections.add(connection)
        self._is_empty.clear()

    def part(self, connection: Any) -> None:
        self.connections.discard(connection)
        if not self.connections:
            self._is_empty.set()

    def has_room(self, calls: int) -> bool:
        """Whether a connection that has so many calls may have another."""
        most = self.bounds.calls
        return calls < most and self._calls < CONNECTIONS * most

    def enter(self) -> None:
        self._calls += 1
        self._is_idle.clear()

    def leave(self) -> None:
        self._calls -= 1
        if not self._calls:
            self._is_idle.set()

    async def until_idle(self) -> None:
        await self._is_idle.wait()

    async def until_empty(self) -> None:
        """Wait until no client is connected."""
        await self._is_empty.wait()
