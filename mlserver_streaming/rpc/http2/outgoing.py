"""What a call has to send."""

from __future__ import annotations

import asyncio
from collections import deque

from .messages import cut

# What may be ready and not sent before the call waits.
READY_BYTES = 64 * 1024


class Outgoing:
    """Bytes that are ready, in order."""

    def __init__(self) -> None:
        self._parts: deque[bytes | memoryview] = deque()
        self._size = 0
        self._has_room = asyncio.Event()

    def __bool__(self) -> bool:
        return self._size > 0

    def put(self, parts: list[bytes]) -> None:
        self._parts += parts
        self._size += sum(map(len, parts))

    def has_room(self, size: int) -> bool:
        """Whether nobody would have to wait who puts so many bytes more."""
        return self._size + size <= READY_BYTES

    async def until_room(self) -> None:
        """Wait while too much is ready."""
        while self._size > READY_BYTES:
            self._has_room.clear()
            await self._has_room.wait()

    def cut(self, size: int) -> bytes:
        """Up to so many bytes."""
        if self._size <= size:
            data = b"".join(self._parts)
            self._parts.clear()
        else:
            data = b"".join(cut(self._parts, size))
        self._size -= len(data)
        self._let_go_on()
        return data

    def clear(self) -> None:
        self._parts.clear()
        self._size = 0
        self._let_go_on()

    def _let_go_on(self) -> None:
        if self._size <= READY_BYTES:
            self._has_room.set()
