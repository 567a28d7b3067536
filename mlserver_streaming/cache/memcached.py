"""Recordings kept in memcached, for all instances of the service.

A key belongs to one server by rendezvous hashing: with a server more or less, no other key moves.
https://en.wikipedia.org/wiki/Rendezvous_hashing
A value past the servers' item limit is split: its own item says how many parts there are and under
which name, which is new each time, so that parts of two values never meet.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
import os
import struct

from mlserver.logging import logger

from ..recordings.recording import MalformedError, Recording
from ..settings import CacheSettings
from .envelope import HEAD_BYTES, seal, unseal
from .figures import BUSY, GET, MALFORMED, PUT, CacheFigures
from .memcached_server import MemcachedServer

PREFIX = "mlserver-streaming:"
# Where an envelope would begin: this value is in parts. Their number, their bytes, their name.
SPLIT = b"MSCP"
INDEX = struct.Struct("<4sII16s")
MAX_PARTS = 1024
# Storing is on nobody's path, but must end.
PUT_SECONDS = 1.0
# memcached reads a longer time as a date.
MOST_SECONDS = 30 * 86_400
# Answers that wait to be stored; one more is not.
PUTS_AT_ONCE = 64
# From here on, digests and compression leave the loop.
LARGE_BYTES = 128 * 1024
# An envelope's own bytes, and the lengths of its chunks.
SPARE_BYTES = 64 * 1024


class MemcachedStore:
    """Several servers as one store. Never raises: what cannot be had in time is not there."""

    def __init__(self, settings: CacheSettings, figures: CacheFigures, secret: bytes = b"") -> None:
        """
        Args:
            secret: what seals the values; empty for none.
        """
        self._settings = settings
        self._secret = secret
        self._figures = figures
        self._readers, self._writers = (
            [
                MemcachedServer(host, port, settings.retry_seconds, figures)
                for host, port in settings.addresses
            ]
            for _ in (GET, PUT)
        )
        self._limit = settings.entry_bytes + SPARE_BYTES
        self._reading: dict[str, asyncio.Task[Recording | None]] = {}
        self._puts = 0

    async def get(self, key: str) -> Recording | None:
        """What is stored under a key. Many who ask at once ask the server once."""
        task = self._reading.get(key)
        if task is None:
            task = self._reading[key] = asyncio.create_task(self._read(PREFIX + key))
            task.add_done_callback(lambda _: self._reading.pop(key, None))
        # It ends by itself, in milliseconds; others may wait for it.
        return await asyncio.shield(task)

    async def put(self, key: str, recording: Recording) -> bool:
        """Store a recording; whether that was done."""
        if self._puts >= PUTS_AT_ONCE:
            self._figures.failed(BUSY)
            return False
        self._puts += 1
        try:
            async with asyncio.timeout(PUT_SECONDS):
                return await self._write(PREFIX + key, recording)
        except TimeoutError:
            return False
        except Exception:
            logger.exception("A stream could not be stored in memcached.")
            return False
        finally:
            self._puts -= 1

    async def remove(self, key: str) -> None:
        """Have nothing under a key, if its server does that in time."""
        key = PREFIX + key
        try:
            async with asyncio.timeout(PUT_SECONDS):
                await _server(self._writers, key).delete(key.encode(), PUT_SECONDS)
        except TimeoutError:
            pass

    async def close(self) -> None:
        for server in (*self._readers, *self._writers):
            server.close()

    async def _read(self, key: str) -> Recording | None:
        value = await self._get(key)
        if value is None:
            return None
        try:
            if value[: len(SPLIT)] == SPLIT:
                value = await self._joined(value)
                if value is None:
                    return None
            large = len(value) >= LARGE_BYTES
            arguments = key.encode(), value, self._limit, self._secret
            recording = await asyncio.to_thread(unseal, *arguments) if large else unseal(*arguments)
            await recording.check()
        except MalformedError:
            self._figures.failed(MALFORMED)
            return None
        except Exception:
            logger.exception("A value of memcached could not be read.")
            return None
        return recording

    async def _joined(self, index: bytes) -> bytes | None:
        """A value from its parts; None where one of them is gone."""
        try:
            _, count, size, name = INDEX.unpack(index)
        except struct.error as error:
            raise MalformedError("no index of parts") from error
        if not 0 < count <= MAX_PARTS or size > self._limit + HEAD_BYTES:
            raise MalformedError("more parts than there can be")
        parts = await asyncio.gather(*(self._get(_part(name, at)) for at in range(count)))
        value = b"".join(part for part in parts if part is not None)
        return value if len(value) == size else None

    async def _write(self, key: str, recording: Recording) -> bool:
        compress = self._settings.compress_bytes
        arguments = key.encode(), recording, compress, self._secret
        large = recording.size >= LARGE_BYTES
        value = await asyncio.to_thread(seal, *arguments) if large else seal(*arguments)
        most = self._settings.value_bytes
        if len(value) <= most:
            return await self._set(key, value)
        count = -(-len(value) // most)
        if not self._settings.split or count > MAX_PARTS:
            return False
        name = os.urandom(16)
        for at in range(count):
            if not await self._set(_part(name, at), value[at * most : (at + 1) * most]):
                return False
        return await self._set(key, INDEX.pack(SPLIT, count, len(value), name))

    async def _get(self, key: str) -> bytes | None:
        server = _server(self._readers, key)
        return await server.get(key.encode(), self._settings.timeout_seconds)

    async def _set(self, key: str, value: bytes) -> bool:
        # Whole seconds of a clock that ticks once a second: of 1, as little as 0.04 s may be left.
        expires = min(math.ceil(self._settings.seconds) + 1, MOST_SECONDS)
        return await _server(self._writers, key).set(key.encode(), value, expires, PUT_SECONDS)


def _server(servers: list[MemcachedServer], key: str) -> MemcachedServer:
    """The server that a key belongs to."""
    return max(servers, key=lambda server: _weight(server.name, key))


def _weight(server: str, key: str) -> bytes:
    return hashlib.blake2b(f"{server} {key}".encode(), digest_size=8).digest()


def _part(name: bytes, number: int) -> str:
    return f"{PREFIX}{name.hex()}.{number}"
