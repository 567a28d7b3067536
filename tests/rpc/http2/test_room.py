"""Room that is lent, and waited for."""

from __future__ import annotations

import asyncio

import pytest

from mlserver_streaming.rpc.http2.room import Room


def test_small_ones_find_room_beside_large_ones() -> None:
    room = Room(100)
    assert [room.lend(size) for size in (50, 26, 25, 13, 12, 6)] == [
        True,
        False,
        True,
        False,
        True,
        True,
    ]


def test_the_first_one_finds_room_however_large() -> None:
    room = Room(100)
    assert room.lend(1000)
    assert not room.lend(1)
    room.take_back(1000)
    assert room.lend(50)


async def test_who_waits_is_served_in_turn() -> None:
    room, served = Room(100), []

    async def borrow(size: int) -> None:
        await room.borrow(size)
        served.append(size)

    await borrow(50)
    waiting = [asyncio.create_task(borrow(size)) for size in (40, 30, 41)]
    await asyncio.sleep(0)
    waiting[1].cancel()
    await borrow(10)  # there is room for it
    assert served == [50, 10]
    room.take_back(10)
    room.take_back(50)
    await asyncio.wait(waiting[:1])
    assert served == [50, 10, 40]
    room.take_back(40)
    await waiting[2]
    with pytest.raises(asyncio.CancelledError):
        await waiting[1]
