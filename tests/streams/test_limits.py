"""Slots: how many, who waits, who is refused, and that nothing is kept of those who have gone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from itertools import pairwise

import pytest

from mlserver_streaming.errors import OverLimitError
from mlserver_streaming.settings import LimitSettings
from mlserver_streaming.streams.limits import Limits

Slot = AbstractAsyncContextManager[None]


class Holder:
    """A task that takes a slot and keeps it until it is let go."""

    def __init__(self, slot: Slot):
        self.has_it = asyncio.Event()
        self._let_go = asyncio.Event()
        self.task = asyncio.create_task(self._hold(slot))

    async def _hold(self, slot: Slot) -> None:
        async with slot:
            self.has_it.set()
            await self._let_go.wait()

    async def let_go(self) -> None:
        self._let_go.set()
        await self.task


@asynccontextmanager
async def holding(*slots: Slot) -> AsyncIterator[list[Holder]]:
    holders = [Holder(slot) for slot in slots]
    await turns()
    yield holders
    for holder in holders:
        holder.task.cancel()
    await asyncio.gather(*(holder.task for holder in holders), return_exceptions=True)


async def turns() -> None:
    """Let every task go as far as it can."""
    for _ in range(10):
        await asyncio.sleep(0)


def limits(**settings: int) -> Limits:
    return Limits(LimitSettings(**settings))


async def refused(slot: Slot) -> str:
    with pytest.raises(OverLimitError) as caught:
        async with slot:
            pytest.fail("got a slot")
    assert caught.value.status_code == 429
    return str(caught.value)


async def test_slots_are_given_waited_for_and_refused():
    found = limits(streams=2, waiting=1)
    async with holding(*(found.call(None) for _ in range(3))) as (first, second, third):
        assert [each.has_it.is_set() for each in (first, second, third)] == [True, True, False]
        assert "at once" in await refused(found.call(None))
        await first.let_go()
        await turns()
        assert third.has_it.is_set()
    async with found.call(None), found.call(None):
        pass


async def test_first_come_first_served():
    found = limits(streams=1, waiting=8)
    async with holding(*(found.call(None) for _ in range(4))) as holders:
        for now, later in pairwise(holders):
            assert now.has_it.is_set() and not later.has_it.is_set()
            await now.let_go()
            await turns()
        assert holders[-1].has_it.is_set()


async def test_nobody_waits_where_nobody_may():
    found = limits(streams=1, waiting=0)
    async with found.call(None):
        await refused(found.call(None))
    async with found.call(None):
        pass


async def test_who_stops_waiting_gives_up_its_place():
    found = limits(streams=1, waiting=1)
    async with found.call(None), holding(found.call(None)) as (waiting,):
        await refused(found.call(None))
        waiting.task.cancel()
        await turns()
        async with holding(found.call(None)) as (another,):
            assert not another.has_it.is_set()
    async with found.call(None):
        pass


@pytest.mark.parametrize("error", [ValueError, asyncio.CancelledError, GeneratorExit])
async def test_a_slot_is_given_back_however_its_block_ends(error: type[BaseException]):
    found = limits(streams=1, streams_per_model=1, streams_per_key=1, waiting=0)
    for _ in range(2):
        with pytest.raises(error):
            async with found.call("a"), found.model("m"):
                raise error


async def test_a_key_has_slots_of_its_own():
    found = limits(streams=9, streams_per_key=1, waiting=0)
    async with found.call("a"):
        assert "with this key" in await refused(found.call("a"))
        async with found.call("b"), found.call(None), found.call(None):
            pass


async def test_a_key_that_waits_for_itself_holds_nothing_of_the_others():
    found = limits(streams=2, streams_per_key=1, waiting=1)
    async with found.call("a"), holding(found.call("a")) as (waiting,):
        assert not waiting.has_it.is_set()
        async with found.call("b"):
            pass


async def test_a_model_has_slots_of_its_own():
    found = limits(streams_per_model=1, waiting=0)
    async with found.model("m"):
        assert "to model 'm'" in await refused(found.model("m"))
        async with found.model("n"):
            pass


async def test_who_may_not_wait_is_refused_at_once():
    found = limits(streams_per_model=1, waiting=9)
    async with found.model("m"):
        await refused(found.model("m", may_wait=False))
    async with found.model("m", may_wait=False):
        pass


async def test_keys_that_have_gone_are_forgotten():
    found = limits(streams_per_key=1, streams_per_model=1, waiting=1)
    for number in range(100):
        key = f"key {number}"
        async with found.call(key), found.model(f"model {number}"), holding(found.call(key)):
            assert list(found._keys) == [key]
    assert not found._keys and not found._models
