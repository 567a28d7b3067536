"""Streams in a Redis or Valkey server, 7 or newer.

A stream is a table, a Redis stream of chunks and a lease (redis_scripts.py); each caller has a set
of the ids of his. All of it expires by itself. Nothing that is read is believed: heads, chunks and
endings are sealed for their places.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from functools import partial
from time import monotonic, time
from typing import Any

from mlserver.logging import logger

from . import redis_scripts as scripts
from .bell import Bell
from .figures import MALFORMED, READ, WRITE
from .redis_link import RedisLink
from .seal import ForgedError, Seal
from .store import (
    GoneError,
    Kept,
    LeftBehindError,
    NotHeldError,
    Part,
    StoreError,
    Told,
    UnheldError,
)

PREFIX = "mlserver-streaming:resume:"
TABLE_KEY = ":table"
# Of one stream, read at once.
CHUNKS = 64
# Streams that are looked at with one question; each brings its request.
LOOKS = 16
# How often who follows a stream looks whether it is still held, and whether a ring was lost.
LOOK_SECONDS = 1.0
TABLE = ("head", "first", "last", "ending", "cancelled", "moved")
# How long who follows a stream counts as its reader, after his last look.
READ_MS = 5000


class RedisStore:
    """A `Store` (store.py)."""

    def __init__(
        self,
        link: RedisLink,
        seal: Seal,
        *,
        lease_seconds: float,
        seconds: float,
        stream_bytes: int,
    ) -> None:
        """
        Args:
            lease_seconds: after so long without a write a stream may be taken.
            seconds: how long a stream is kept after the last write to it.
            stream_bytes: what is kept of one; the oldest goes.
        """
        self._link, self._seal = link, seal
        self._bell = Bell(link.listener, link.seconds)
        self._holder = secrets.token_hex(16)
        self._lease, self._kept = int(lease_seconds * 1000), int(seconds * 1000)
        self._bytes = stream_bytes
        register = link.client.register_script
        self._begin, self._write = register(scripts.BEGIN), register(scripts.WRITE)
        self._take, self._release = register(scripts.TAKE), register(scripts.RELEASE)
        self._cancel, self._look = register(scripts.CANCEL), register(scripts.LOOK)
        self._move, self._amend = register(scripts.MOVE), register(scripts.AMEND)
        self._drop = register(scripts.DROP)

    async def begin(self, stream: str, owner: str, head: bytes) -> None:
        sealed = self._seal.close(("head", stream, owner), head)
        arguments = [self._holder, self._lease, self._kept, sealed, stream, time()]
        arguments += [PREFIX, TABLE_KEY]
        keys = [*_keys(stream), _set(owner)]
        if not await self._link.ask(WRITE, lambda: self._begin(keys=keys, args=arguments)):
            raise NotHeldError(stream)
        self._link.has_room()
        self._link.figures.moved(WRITE, len(sealed))

    async def write(self, stream: str, part: Part) -> Told:
        chunk = ending = b""
        if part.count:
            chunk = self._seal.close(("chunk", stream, part.after, part.count), part.chunk)
        if part.ending is not None:
            ending = self._seal.close(("ending", stream, part.last), part.ending)
        arguments = [self._holder, self._lease, self._kept, part.after, part.count, chunk, ending]
        arguments += [self._bytes, _channel(stream)]
        done = await self._link.ask(WRITE, lambda: self._write(keys=_keys(stream), args=arguments))
        if done < 0:
            raise NotHeldError(stream)
        if part.count:
            self._link.has_room()
            self._link.figures.moved(WRITE, len(chunk))
        return Told(bool(done & 1), bool(done & 2), bool(done & 4))

    async def amend(self, stream: str, owner: str, head: bytes) -> None:
        arguments = [self._holder, self._seal.close(("head", stream, owner), head)]
        if not await self._link.ask(WRITE, lambda: self._amend(keys=_keys(stream), args=arguments)):
            raise NotHeldError(stream)

    async def look(self, stream: str, owner: str) -> Kept:
        found = await self._link.ask(READ, lambda: self._look(keys=_keys(stream), args=TABLE))
        return self._opened(stream, owner, found)

    def _opened(self, stream: str, owner: str, found: list[Any]) -> Kept:
        """What LOOK found.

        Raises:
            GoneError
        """
        head, first, last, ending, cancelled, moved, held = found
        if head is None:
            raise GoneError(stream)
        try:
            first, last = int(first), int(last)
            return Kept(
                self._seal.open(("head", stream, owner), head),
                first,
                last,
                None if ending is None else self._seal.open(("ending", stream, last), ending),
                bool(held),
                cancelled is not None,
                cancelled == b"1",
                None if moved is None else self._seal.open(("moved", stream), moved).decode(),
            )
        except (ForgedError, ValueError, TypeError) as error:
            # Another caller's, or not of this service: there is no such stream for this one.
            raise GoneError(stream) from error

    async def follow(self, stream: str, owner: str, after: int) -> AsyncGenerator[Part, None]:
        next_sign = 0.0
        async with self._bell.hearing(_channel(stream)) as written:
            while True:
                written.clear()
                kept = await self.look(stream, owner)
                if after + 1 < kept.first:
                    raise LeftBehindError(kept.first)
                async with aclosing(self.read(stream, after, kept.last)) as parts:
                    async for part in parts:
                        after = part.last
                        yield part
                if kept.ending is not None:
                    yield Part(after, ending=kept.ending)
                    return
                if not kept.is_held:
                    raise UnheldError(stream)
                if (now := monotonic()) >= next_sign:
                    next_sign = now + LOOK_SECONDS
                    await self._be_seen(stream)
                with suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_SECONDS):
                        await written.wait()

    async def read(self, stream: str, after: int, last: int) -> AsyncGenerator[Part, None]:
        while after < last:
            for part in await self._read(stream, after):
                after = part.last
                yield part

    async def _be_seen(self, stream: str) -> None:
        """Tell who runs a stream that it is read here."""
        with suppress(StoreError):  # full
            await self._link.ask(
                WRITE, lambda: self._link.client.set(_keys(stream)[3], b"", px=READ_MS)
            )

    async def _read(self, stream: str, after: int) -> list[Part]:
        """Some of the parts behind `after`, of which there are some.

        Raises:
            GoneError, LeftBehindError
        """
        chunks = _keys(stream)[1]
        found = await self._link.ask(
            READ, lambda: self._link.client.xrange(chunks, f"({after}-0", "+", count=CHUNKS)
        )
        parts: list[Part] = []
        for entry, fields in found:
            try:
                last = int(entry.partition(b"-")[0])
                begin = int(fields[b"a"])
                place = ("chunk", stream, begin, last - begin)
                part = Part(begin, last - begin, self._seal.open(place, fields[b"c"]))
                self._link.figures.moved(READ, len(fields[b"c"]))
            except (ForgedError, ValueError, KeyError) as error:
                self._link.figures.failed(MALFORMED)
                logger.warning("What the store holds of a stream is not of this service.")
                raise GoneError(stream) from error
            if begin > (parts[-1].last if parts else after):
                raise LeftBehindError(begin + 1)
            parts.append(part)
        if not parts:
            raise GoneError(stream)
        return parts

    async def take(self, stream: str) -> bool:
        arguments = [self._holder, self._lease]
        return bool(
            await self._link.ask(WRITE, lambda: self._take(keys=_keys(stream), args=arguments))
        )

    async def release(self, stream: str) -> None:
        arguments = [self._holder, _channel(stream)]
        await self._link.ask(WRITE, lambda: self._release(keys=_keys(stream), args=arguments))

    async def move(self, stream: str, owner: str, to: str) -> None:
        sealed = self._seal.close(("moved", stream), to.encode())
        arguments = [self._holder, _channel(stream), sealed]
        if not await self._link.ask(WRITE, lambda: self._move(keys=_keys(stream), args=arguments)):
            raise NotHeldError(stream)

    async def cancel(self, stream: str, delete: bool) -> None:
        arguments = [_channel(stream), int(delete)]
        await self._link.ask(WRITE, lambda: self._cancel(keys=_keys(stream), args=arguments))

    async def drop(self, stream: str, owner: str) -> None:
        keys, arguments = [*_keys(stream), _set(owner)], [self._holder, stream, _channel(stream)]
        await self._link.ask(WRITE, lambda: self._drop(keys=keys, args=arguments))

    async def streams(self, owner: str) -> dict[str, Kept]:
        names = await self._link.ask(READ, lambda: self._link.client.zrange(_set(owner), 0, -1))
        kept = {}
        gone = []
        for start in range(0, len(names), LOOKS):
            part = names[start : start + LOOKS]
            streams = [name.decode(errors="replace") for name in part]
            found = await self._link.ask(READ, partial(self._look_at, streams))
            for name, stream, each in zip(part, streams, found, strict=True):
                try:
                    kept[stream] = self._opened(stream, owner, each)
                except GoneError:
                    gone.append(name)
        if gone:
            await self._link.ask(WRITE, lambda: self._link.client.zrem(_set(owner), *gone))
        return kept

    async def _look_at(self, streams: list[str]) -> list[list[Any]]:
        asked = self._link.client.pipeline(transaction=False)
        for stream in streams:
            await self._look(keys=_keys(stream), args=TABLE, client=asked)
        found: list[list[Any]] = await asked.execute()
        return found

    async def close(self) -> None:
        await self._bell.close()
        await self._link.close()


def _keys(stream: str) -> list[str]:
    """The table, the chunks, the lease, whether it is read elsewhere."""
    base = PREFIX + stream
    return [base + TABLE_KEY, *(f"{base}:{what}" for what in ("chunks", "lease", "reader"))]


def _channel(stream: str) -> str:
    return f"{PREFIX}{stream}"


def _set(owner: str) -> str:
    """The key of a caller's streams."""
    return f"{PREFIX}of:{hashlib.sha256(owner.encode()).hexdigest()[:32]}"
