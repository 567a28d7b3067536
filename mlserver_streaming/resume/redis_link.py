"""The way to one Redis or Valkey server: each question bounded in time, a silent server left alone.

https://redis.io/docs/latest/develop/clients/redis-py/
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from time import monotonic
from typing import Any, TypeVar

import redis.asyncio as redis
from mlserver.logging import logger
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, OutOfMemoryError, RedisError
from redis.exceptions import ConnectionError as LostConnectionError
from redis.exceptions import TimeoutError as LateError

from .figures import BUSY, CONNECTION, FULL, READ, REFUSED, TIMEOUT, StoreFigures
from .store import StoreError

Result = TypeVar("Result")

# Questions at once, each on a connection of its own: most of one's time is its client's.
CONNECTIONS = 8
# For so many times a question's own time others wait for their turn.
QUEUE_TIMES = 4
# After so many failures in a row the server is left alone.
FAILURES = 3
# How often a server that nobody asks anything is asked whether it is there.
WATCH_SECONDS = 5.0


class RedisLink:
    """
    Attributes:
        client: redis-py's, for who asks.
        listener: another, for who is told.
        seconds: how long to wait for an answer.
        figures: the metrics.
    """

    def __init__(
        self,
        url: str,
        seconds: float,
        retry_seconds: float,
        figures: StoreFigures,
        password: str | None = None,
    ) -> None:
        """
        Args:
            seconds: how long to wait for an answer.
            retry_seconds: how long a server that does not answer is left alone.
            password: where the url has none.
        """
        self.seconds = seconds
        self.figures = figures
        self._retry_seconds = retry_seconds
        self._failures = 0
        self._alone_until = 0.0
        self._full = self._is_down = False
        self._last = self._failed_at = 0.0
        self._watcher: asyncio.Task[None] | None = None
        url = url.replace("valkey", "redis", 1) if url.startswith("valkey") else url
        self._turns = asyncio.Semaphore(CONNECTIONS)
        pool = redis.ConnectionPool.from_url(
            url,
            password=password,
            socket_connect_timeout=seconds,
            socket_timeout=None,  # ours, around all of it
            # That a server was started again is seen on each connection when it is asked; what is
            # asked may be asked twice.
            retry=Retry(NoBackoff(), 1, supported_errors=(LostConnectionError,)),
            decode_responses=False,
        )
        self.client: Any = redis.Redis.from_pool(pool)
        # Where who waits is told; it may be silent for long, and comes back by itself.
        self.listener: Any = redis.Redis.from_url(
            url,
            password=password,
            socket_connect_timeout=seconds,
            socket_timeout=None,
            health_check_interval=15,
        )

    def watch(self) -> None:
        """Know from now on whether the server answers, also while there is nothing to ask it."""
        self._watcher = asyncio.create_task(self._watch())

    async def ask(self, operation: str, question: Callable[[], Awaitable[Result]]) -> Result:
        """
        Args:
            operation: READ or WRITE, for the metrics.

        Raises:
            StoreError: no answer in time, or the server cannot do it now.
        """
        if monotonic() < self._alone_until:
            raise StoreError("left alone")
        try:
            async with asyncio.timeout(QUEUE_TIMES * self.seconds):
                await self._turns.acquire()
        except TimeoutError as error:
            self.figures.failed(BUSY)
            raise StoreError("busy") from error
        try:
            if monotonic() < self._alone_until:  # it has failed others meanwhile
                raise StoreError("left alone")
            return await self._asked(operation, question)
        finally:
            self._turns.release()

    async def _asked(self, operation: str, question: Callable[[], Awaitable[Result]]) -> Result:
        began = monotonic()
        try:
            async with asyncio.timeout(self.seconds):
                result = await question()
        except OutOfMemoryError as error:
            self._failures = 0
            self.figures.failed(FULL)
            if not self._full:
                logger.warning("The store of streams is full; streams go on without it.")
            self._full = True
            raise StoreError("full", is_final=True) from error
        except (TimeoutError, RedisError, OSError) as error:
            self._failed(error, began)
            raise StoreError(str(error)) from error
        finally:
            self._last = monotonic()
            self.figures.waited(operation, self._last - began)
        self._failures = 0
        if self._is_down:
            self._is_down = False
            logger.warning("The store of streams answers again.")
        self.figures.is_up(True)
        return result

    def has_room(self) -> None:
        """It has taken something."""
        self._full = False

    def _failed(self, error: Exception, began: float) -> None:
        self.figures.failed(_reason_of(error))
        if began < self._failed_at:
            return  # asked beside one that failed: the same moment's fault
        self._failed_at = monotonic()
        self._failures += 1
        if self._failures < FAILURES:
            return
        # The next try is the only one before it is left alone again.
        self._failures = FAILURES - 1
        self._alone_until = monotonic() + self._retry_seconds
        self.figures.is_up(False)
        if not self._is_down:
            self._is_down = True
            logger.warning(
                "The store of streams does not answer (%s); it is asked again every %g s.",
                str(error) or type(error).__name__,
                self._retry_seconds,
            )

    async def _watch(self) -> None:
        while True:
            if monotonic() - self._last >= WATCH_SECONDS or self._failures:
                with suppress(StoreError):
                    await self.ask(READ, self.client.ping)
            await asyncio.sleep(self._retry_seconds if self._failures else WATCH_SECONDS)

    async def close(self) -> None:
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.wait([self._watcher])
        await self.client.aclose(close_connection_pool=True)
        await self.listener.aclose(close_connection_pool=True)


def _reason_of(error: Exception) -> str:
    if isinstance(error, TimeoutError | LateError):
        return TIMEOUT
    if isinstance(error, AuthenticationError):
        return REFUSED
    return CONNECTION if isinstance(error, LostConnectionError | OSError) else REFUSED
