"""Recordings kept in this process: bounded in bytes, the least recently used go first."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

from ..recordings.recording import Recording

# What an entry holds besides its recording: the key, the table's slot, the objects.
ENTRY_BYTES = 512


class MemoryStore:
    """A table of recordings.

    Attributes:
        bytes: what they hold now, in all.
    """

    def __init__(
        self, bytes: int, seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """
        Args:
            bytes: what all of them may hold.
            seconds: how long one is kept.
        """
        self.bytes = 0
        self._limit = bytes
        self._seconds = seconds
        self._clock = clock
        self._entries: OrderedDict[str, tuple[Recording, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    async def get(self, key: str) -> Recording | None:
        """What is kept under a key; it is the last now to be dropped."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        recording, expires = entry
        if self._clock() >= expires:
            self._drop(key)
            return None
        self._entries.move_to_end(key)
        return recording

    async def put(self, key: str, recording: Recording) -> bool:
        """Keep a recording; whether there is room for one of its size at all."""
        self._drop(key)
        size = recording.size + ENTRY_BYTES
        if size > self._limit:
            return False
        while self.bytes + size > self._limit:
            self._drop(next(iter(self._entries)))
        self._entries[key] = recording, self._clock() + self._seconds
        self.bytes += size
        return True

    async def remove(self, key: str) -> None:
        """Keep nothing under a key."""
        self._drop(key)

    async def close(self) -> None:
        self._entries.clear()
        self.bytes = 0

    def _drop(self, key: str) -> None:
        if entry := self._entries.pop(key, None):
            self.bytes -= entry[0].size + ENTRY_BYTES
