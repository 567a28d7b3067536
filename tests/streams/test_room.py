"""Room that is lent, and waited for."""

from __future__ import annotations

import asyncio

import pytest

from mlserver_streaming.streams import room as of_rooms
from mlserver_streaming.streams.room import FREE_BYTES, BusyError, Loan, Room


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


async def test_small_ones_are_served_behind_one_that_waits_for_much() -> None:
    room = Room(100)
    assert room.lend(50) and room.lend(25) and room.lend(12)
    large, small = (asyncio.create_task(room.borrow(size)) for size in (40, 12))
    await asyncio.sleep(0)
    room.take_back(12)
    await small
    assert not large.done()
    room.take_back(87)
    await large


async def test_who_is_cancelled_as_it_is_served_takes_nothing() -> None:
    room = Room(100)
    assert room.lend(100)
    first, second = (asyncio.create_task(room.borrow(size)) for size in (100, 90))
    await asyncio.sleep(0)
    room.take_back(100)
    first.cancel()
    await second
    assert first.cancelled()
    room.take_back(90)
    assert room.lend(100)


async def test_a_loan_grows_and_is_given_back() -> None:
    room = Room(100)
    loan = Loan(room)
    await loan.borrow(40)
    await loan.borrow(30)  # it has that
    assert loan.lend(50)
    assert loan.size == 50
    assert not loan.lend(76)
    loan.give_back()
    assert (loan.size, room.lend(100)) == (0, True)


def test_a_loan_is_for_as_much_as_there_is() -> None:
    room = Room(100)
    with Loan(room) as loan:
        assert loan.lend(80)
        loan.keep(90)
        assert loan.size == 80
        loan.keep(10)
        assert loan.size == 10
        assert room.lend(45)
        room.take_back(45)
    assert room.lend(100)


async def test_a_loan_is_waited_for_so_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(of_rooms, "ROOM_SECONDS", 0.0)
    room = Room(100)
    assert room.lend(100)
    loan = Loan(room)
    with pytest.raises(BusyError, match="try again"):
        await loan.borrow(1)
    assert loan.size == 0


def test_what_a_request_of_unknown_length_wants() -> None:
    loan = Loan(Room(100 * FREE_BYTES))
    assert loan.wanted(FREE_BYTES, 10 * FREE_BYTES) == 0
    assert loan.wanted(FREE_BYTES + 1, 10 * FREE_BYTES) == 2 * FREE_BYTES + 2
    assert loan.lend(2 * FREE_BYTES + 2)
    assert loan.wanted(3 * FREE_BYTES, 10 * FREE_BYTES) == 0
    assert loan.wanted(6 * FREE_BYTES, 10 * FREE_BYTES) == 10 * FREE_BYTES
