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
        return bool(self._parts)

    def put(self, parts: list[bytes]) -> None:
        self._parts += parts
        self._size += sum(map(len, parts))

    async def until_room(self) -> None:
        """Wait while too much is ready."""
        while self._size > READY_BYTES:
            self._has_room.clear()
            await self._has_room.wait()

    def cut(self, size: int) -> bytes:
        """Up to so many bytes."""
        data = b"".join(cut(self._parts, min(size, self._size)))
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
