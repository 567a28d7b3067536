"""How much at once: in all, for each model, for each key, and how many may wait."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext

from ..errors import OverLimitError
from ..settings import LimitSettings


class Limits:
    """Slots for calls and streams, first come, first served.

    Where all slots are taken, up to `waiting` requests wait; one more is refused at once.
    """

    def __init__(self, settings: LimitSettings):
        self._settings = settings
        self._all = Slots(settings.streams)
        # Kept while somebody uses them: callers may be an issuer's, and no end of them.
        self._keys: dict[str, Slots] = {}
        self._models: dict[str, Slots] = {}
        self._waiting = 0

    @asynccontextmanager
    async def call(self, identity: str) -> AsyncIterator[None]:
        """A slot for one call of the caller with this identity; empty where there are no keys.

        Raises:
            OverLimitError: no slot is free and enough requests wait.
        """
        # The key's first: who waits for that must not hold what others could have.
        limit = self._settings.streams_per_key
        own = (
            nullcontext()
            if not identity or limit is None
            else self._named(self._keys, identity, limit, "with this key")
        )
        async with own, self._slot(self._all, "at once"):
            yield

    def model(self, name: str, may_wait: bool = True) -> AbstractAsyncContextManager[None]:
        """A slot for one stream to a model.

        Raises:
            OverLimitError: no slot is free, and enough requests wait or this one may not.
        """
        limit = self._settings.streams_per_model
        if limit is None:
            return nullcontext()
        return self._named(self._models, name, limit, f"to model '{name}'", may_wait)

    @asynccontextmanager
    async def _named(
        self,
        table: "dict[str, Slots]",
        name: str,
        limit: int,
        of_what: str,
        may_wait: bool = True,
    ) -> AsyncIterator[None]:
        slots = table.setdefault(name, Slots(limit))
        slots.users += 1
        try:
            async with self._slot(slots, of_what, may_wait):
                yield
        finally:
            slots.users -= 1
            if not slots.users:
                del table[name]

    @asynccontextmanager
    async def _slot(
        self, slots: "Slots", of_what: str, may_wait: bool = True
    ) -> AsyncIterator[None]:
        if slots.locked():
            if not may_wait or self._waiting >= self._settings.waiting:
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


class Slots(asyncio.Semaphore):
    """A number of slots, and how many hold or want one."""

    users = 0
