"""Who waits for what is written to streams in the store: all on one connection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from mlserver.logging import logger

# After a broken connection. Who waits looks again by himself meanwhile.
PAUSE_SECONDS = 0.5


class Bell:
    """Channels of a Redis server. A ring that is lost delays who waits, and does nothing else."""

    def __init__(self, client: Any, seconds: float) -> None:
        """
        Args:
            client: redis-py's, with connections that are for this alone.
            seconds: how long to wait for the server.
        """
        self._client = client
        self._seconds = seconds
        self._pubsub: Any = None
        self._hearing: dict[str, set[asyncio.Event]] = {}
        self._task: asyncio.Task[None] | None = None
        self._change = asyncio.Lock()
        self._is_closed = False

    @asynccontextmanager
    async def hearing(self, channel: str) -> AsyncIterator[asyncio.Event]:
        """What is set each time that the channel rings."""
        event = asyncio.Event()
        events = self._hearing.setdefault(channel, set())
        events.add(event)
        try:
            if len(events) == 1:
                await self._tell(True, channel)
            yield event
        finally:
            events.discard(event)
            if not events:
                self._hearing.pop(channel, None)
                await self._tell(False, channel)

    async def close(self) -> None:
        self._is_closed = True
        async with self._change:  # whoever is at it
            pass
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        if self._pubsub is not None:
            await self._pubsub.aclose()

    async def _tell(self, wanted: bool, channel: str) -> None:
        # redis-py subscribes again to all of them once it has another connection.
        with suppress(Exception):
            async with asyncio.timeout(self._seconds), self._change:
                if self._is_closed or wanted != (channel in self._hearing):
                    return  # somebody else was faster
                if self._pubsub is None:
                    self._pubsub = self._client.pubsub(ignore_subscribe_messages=True)
                await (self._pubsub.subscribe if wanted else self._pubsub.unsubscribe)(channel)
                if self._task is None:
                    self._task = asyncio.create_task(self._hear())

    async def _hear(self) -> None:
        while True:
            try:
                message = await self._pubsub.get_message(timeout=None)
            except asyncio.CancelledError:
                raise
            except Exception as error:
                logger.debug("The store of streams cannot be listened to: %s", error)
                await asyncio.sleep(PAUSE_SECONDS)
                continue
            if message:
                for event in self._hearing.get(message["channel"].decode(), ()):
                    event.set()
