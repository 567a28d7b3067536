"""One memcached server: asked for a few milliseconds, and left alone where it does not answer.

memcachio keeps the connections and puts many questions on each. Its client is thrown away with each
failure, so that no answer that comes too late is there for the next question.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import TypeVar

import memcachio
from memcachio.errors import ServerError
from mlserver.logging import logger

from .figures import BUSY, CONNECTION, REFUSED, TIMEOUT, CacheFigures

Result = TypeVar("Result")

# Failures in a row after which a server is left alone: one may be an answer that was only late.
FAILURES = 2
# Questions that are on their way to a server at once: their answers take a loop less time to read
# than one may take to come. Those behind them wait for the loop, not for the server, so they may
# wait longer; where the server fails, they wait no more.
QUESTIONS, QUEUE_TIMES = 8, 10
# Turns of the loop that a question gets after its time: 3 to 8 are what it needs, with a new
# connection and a large value, and a busy machine may run memcached some turns later. They are a
# millisecond where the loop is idle; where each takes long, everything on the loop takes as long.
TURNS, MOST_SECONDS = 64, 0.5
# Ends by itself what nobody waits for any more.
CONNECT_SECONDS = 1.0


class MemcachedServer:
    """A connection to one. Never raises: what the server does not do in time is not done.

    What is read and what is stored have one each: nobody waits behind a large value that goes the
    other way.
    """

    def __init__(self, host: str, port: int, retry_seconds: float, figures: CacheFigures) -> None:
        """
        Args:
            retry_seconds: how long a server that fails is left alone.
        """
        self.name = f"{host}:{port}"
        self._address = host, port
        self._retry_seconds = retry_seconds
        self._figures = figures
        self._client: memcachio.Client[bytes] | None = None
        self._slots = asyncio.Semaphore(QUESTIONS)
        self._failures = 0
        self._alone_until = 0.0

    async def get(self, key: bytes, seconds: float) -> bytes | None:
        """A key's value; None where there is none, or it does not come in time.

        Args:
            seconds: how long to wait for the answer.
        """

        async def ask(client: memcachio.Client[bytes]) -> bytes | None:
            item = (await client.get(key)).get(key)
            return None if item is None else item.value

        return await self._within(seconds, ask)

    async def set(self, key: bytes, value: bytes, expires: int, seconds: float) -> bool:
        """Store a value; whether that was done in time."""

        async def ask(client: memcachio.Client[bytes]) -> bool:
            return await client.set(key, value, expiry=expires)

        return await self._within(seconds, ask) is True

    async def delete(self, key: bytes, seconds: float) -> None:
        """Have nothing under a key, if that can be done in time."""

        async def ask(client: memcachio.Client[bytes]) -> bool:
            return await client.delete(key)

        await self._within(seconds, ask)

    def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.connection_pool.close()

    async def _within(
        self, seconds: float, ask: Callable[[memcachio.Client[bytes]], Awaitable[Result]]
    ) -> Result | None:
        if monotonic() < self._alone_until:
            return None
        try:
            async with asyncio.timeout(QUEUE_TIMES * seconds):
                await self._slots.acquire()
        except TimeoutError:
            self._figures.failed(BUSY)
            return None
        try:
            if monotonic() < self._alone_until:  # it has failed others meanwhile
                return None
            return await self._asked(seconds, ask)
        finally:
            self._slots.release()

    async def _asked(
        self, seconds: float, ask: Callable[[memcachio.Client[bytes]], Awaitable[Result]]
    ) -> Result | None:
        client = self._client = self._client or memcachio.Client(
            self._address,
            decode_responses=False,
            min_connections=1,
            max_connections=1,
            connect_timeout=CONNECT_SECONDS,
            socket_nodelay=True,
            max_inflight_requests_per_connection=2 * QUESTIONS,  # never so many
            max_average_response_time_for_connection_reuse=math.inf,
        )
        gives_up = monotonic() + MOST_SECONDS
        task = asyncio.ensure_future(ask(client))
        try:
            await asyncio.wait([task], timeout=seconds)
            for _ in range(TURNS):
                if not task.done() and monotonic() < gives_up:
                    await asyncio.sleep(0)
            if not task.done():
                self._failed(client, TIMEOUT)
                return None
            result = task.result()
        except ServerError:  # too large, out of memory
            self._figures.failed(REFUSED)
            self._failures = 0
            return None
        except Exception:
            self._failed(client, CONNECTION)
            return None
        finally:
            task.cancel()
        self._failures = 0
        return result

    def _failed(self, client: memcachio.Client[bytes], reason: str) -> None:
        self._figures.failed(reason)
        if client is not self._client:
            return  # it was thrown away for another's failure
        self.close()
        self._failures += 1
        if self._failures < FAILURES:
            return
        # The next try is the only one before it is left alone again.
        self._failures = FAILURES - 1
        self._alone_until = monotonic() + self._retry_seconds
        logger.warning(
            "memcached at %s does not answer; left alone for %g s.", self.name, self._retry_seconds
        )
