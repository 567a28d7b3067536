"""Streams at once, streams that wait, and no more."""

import asyncio

import pytest

from mlserver_streaming.models.errors import BusyError
from runtimes.language.slots import Slots


async def rounds() -> None:
    """Let every task go on as far as it can."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_first_come_first_served_and_no_more_than_may_wait() -> None:
    slots = Slots(2, waiting=2)
    await slots.take(2)
    let_in: list[str] = []

    async def wait(name: str, count: int) -> None:
        await slots.take(count)
        let_in.append(name)

    tasks = [asyncio.create_task(wait("two", 2)), asyncio.create_task(wait("one", 1))]
    await rounds()
    with pytest.raises(BusyError, match="2 wait; try again later") as caught:
        await slots.take(1)
    assert caught.value.status_code == 429
    slots.give_back(1)
    await rounds()
    assert let_in == []  # the first waits for two, and none passes it
    slots.give_back(1)
    await rounds()
    assert let_in == ["two"]
    slots.give_back(2)
    await asyncio.gather(*tasks)
    assert let_in == ["two", "one"]


async def test_who_gives_up_takes_nothing() -> None:
    slots = Slots(1, waiting=3)
    await slots.take(1)
    first, second, third = (asyncio.create_task(slots.take(1)) for _ in range(3))
    await rounds()
    second.cancel()
    await rounds()
    slots.give_back(1)
    first.cancel()  # just as its turn has come
    await rounds()
    await third
    slots.give_back(1)
    await slots.take(1)


async def test_none_waits_where_none_may() -> None:
    slots = Slots(1, waiting=0)
    await slots.take(1)
    with pytest.raises(BusyError):
        await slots.take(1)
