"""How much at once: in all, for each model, for each key, and how many may wait."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from time import perf_counter_ns

from ..errors import OverLimitError
from ..settings import LimitSettings


class Limits:
    """Slots for calls and streams, first come, first served.

    Where all slots are taken, up to `waiting` requests wait; one more is refused at once.
    """

    def __init__(self, settings: LimitSettings, waited: Callable[[int], None] = lambda ns: None):
        """
        Args:
            waited: told of the nanoseconds that a request has waited for its slot.
        """
        self._settings = settings
        self._waited = waited
        self._all = Slots(settings.streams, "at once")
        # Kept while somebody uses them: callers may be an issuer's, and no end of them.
        self._keys: dict[str, Slots] = {}
        self._models: dict[str, Slots] = {}
        self._waiting = 0

    def call(self, identity: str, may_wait: bool = True) -> AbstractAsyncContextManager[None]:
        """A slot for one call of the caller with this identity; empty where there are no keys.

        Raises:
            OverLimitError: no slot is free, and enough requests wait or this one may not.
        """
        limit = self._settings.streams_per_key
        if not identity or limit is None:
            return Hold(self, self._all, may_wait=may_wait)
        # The key's first: who waits for that must not hold what others could have.
        own = Named(self._keys, identity, limit, "with this key")
        return Hold(self, own, self._all, may_wait=may_wait)

    def model(self, name: str, may_wait: bool = True) -> AbstractAsyncContextManager[None]:
        """A slot for one stream to a model.

        Raises:
            OverLimitError: no slot is free, and enough requests wait or this one may not.
        """
        limit = self._settings.streams_per_model
        if limit is None:
            return nullcontext()
        own = Named(self._models, name, limit, f"to model '{name}'")
        return Hold(self, own, may_wait=may_wait)

    @property
    def has_models(self) -> bool:
        """Whether there is a limit for each model."""
        return self._settings.streams_per_model is not None

    @property
    def used(self) -> int:
        """How many calls hold a slot of those for all."""
        return self._all.users - self._all.waiting

    @property
    def waiting(self) -> int:
        """How many requests wait for a slot, whichever."""
        return self._waiting

    async def wait(self, slots: "Slots", may_wait: bool) -> None:
        """One of these slots, of which none is free now, as soon as there is one."""
        if not may_wait or self._waiting >= self._settings.waiting:
            raise OverLimitError(
                f"There are as many streams {slots.of_what} as may be; try again in a moment."
            )
        self._waiting += 1
        began = perf_counter_ns()
        slots.waiting += 1
        try:
            await slots.acquire()
        finally:
            self._waiting -= 1
            self._waited(perf_counter_ns() - began)
            slots.waiting -= 1


class Slots(asyncio.Semaphore):
    """A number of slots, how many hold or want one, and how many of these wait for it."""

    def __init__(self, number: int, of_what: str):
        super().__init__(number)
        self.number = number
        self.of_what = of_what
        self.users = self.waiting = 0

    def found(self) -> "Slots":
        """These; somebody wants one."""
        self.users += 1
        return self

    def left(self) -> None:
        """Who held or wanted one does no more."""
        self.users -= 1


class Named:
    """Slots that are kept in a table under a name while somebody uses them."""

    __slots__ = ("_limit", "_name", "_of_what", "_table")

    def __init__(self, table: dict[str, Slots], name: str, limit: int, of_what: str):
        self._table = table
        self._name = name
        self._limit = limit
        self._of_what = of_what

    def found(self) -> Slots:
        slots = self._table.get(self._name)
        if slots is None:
            slots = self._table[self._name] = Slots(self._limit, self._of_what)
        return slots.found()

    def left(self) -> None:
        slots = self._table[self._name]
        slots.left()
        if not slots.users:
            del self._table[self._name]


class Hold:
    """Slots that are taken one after another, and given back together.

    Classes, not generators: each call on the wire passes here, and two of those cost as much as
    all else that is done about it.
    """

    __slots__ = ("_held", "_limits", "_may_wait", "_wanted")

    def __init__(self, limits: Limits, *wanted: Slots | Named, may_wait: bool = True):
        self._limits = limits
        self._wanted = wanted
        self._may_wait = may_wait
        self._held: list[Slots] = []

    async def __aenter__(self) -> None:
        for each in self._wanted:
            slots = each.found()
            try:
                # As many want one as there are: nobody waits, and one is free for each.
                if slots.users > slots.number:
                    await self._limits.wait(slots, self._may_wait)
                else:
                    await slots.acquire()
            except BaseException:
                each.left()
                self._give_back()
                raise
            self._held.append(slots)

    async def __aexit__(self, *failure: object) -> None:
        self._give_back()

    def _give_back(self) -> None:
        while self._held:
            self._held.pop().release()
            self._wanted[len(self._held)].left()
