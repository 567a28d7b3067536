"""How much at once: in all, for each model, for each key, and how many may wait."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from .errors import OverLimitError
from .settings import LimitSettings


class Limits:
    """Slots for calls and streams, first come, first served.

    Where all slots are taken, up to `waiting` requests wait; one more is refused at once.
    """

    def __init__(self, settings: LimitSettings):
        self._settings = settings
        self._all = asyncio.Semaphore(settings.streams)
        # Made for models and keys that exist only, so a caller cannot make these grow.
        self._models: dict[str, asyncio.Semaphore] = {}
        self._keys: dict[str, asyncio.Semaphore] = {}
        self._waiting = 0

    @asynccontextmanager
    async def call(self, key: str | None) -> AsyncIterator[None]:
        """A slot for one call of the caller with this key's name.

        Raises:
            OverLimitError: no slot is free and enough requests wait.
        """
        async with self._slot(self._all, "at once"):
            limit = self._settings.streams_per_key
            if limit is None or key is None:
                yield
                return
            slots = self._keys.setdefault(key, asyncio.Semaphore(limit))
            async with self._slot(slots, "with this key"):
                yield

    @asynccontextmanager
    async def model(self, name: str) -> AsyncIterator[None]:
        """A slot for one stream to a model.

        Raises:
            OverLimitError: no slot is free and enough requests wait.
        """
        limit = self._settings.streams_per_model
        if limit is None:
            yield
            return
        slots = self._models.setdefault(name, asyncio.Semaphore(limit))
        async with self._slot(slots, f"to model '{name}'"):
            yield

    @asynccontextmanager
    async def _slot(self, slots: asyncio.Semaphore, of_what: str) -> AsyncIterator[None]:
        if slots.locked():
            if self._waiting >= self._settings.waiting:
                raise OverLimitError(
                    f"There are as many streams {of_what} as may be; try again in a moment."
                )
            self._waiting += 1
            try:
                await slots.acquire()
            finally:
                self._waiting -= 1
        else:
            await slots.acquire()
        try:
            yield
        finally:
            slots.release()
