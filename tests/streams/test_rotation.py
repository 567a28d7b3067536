"""Streams that never wait go on one after another, and all else has its part of each round."""

import asyncio
from types import SimpleNamespace

import pytest

from mlserver_streaming.streams import rotation as module
from mlserver_streaming.streams.rotation import STREAMS, TURN_SECONDS, Rotation


@pytest.fixture
def clock(monkeypatch) -> SimpleNamespace:
    """A clock that stands still; `now` moves it."""
    found = SimpleNamespace(now=100.0)
    monkeypatch.setattr(module, "monotonic", lambda: found.now)
    return found


async def turns_of(
    rotation: Rotation, streams: int, clock: SimpleNamespace, others: float = 0.0
) -> list[int]:
    """In which round of the loop, counted from the first, each of some streams got its turn, where
    all else takes so many seconds of each round."""
    at: list[int] = []
    rounds = 0

    async def all_else() -> None:
        nonlocal rounds
        while len(at) < streams:
            rounds += 1
            clock.now += others
            await asyncio.sleep(0)

    async def stream() -> None:
        await rotation.wait()
        at.append(rounds)

    working = asyncio.create_task(all_else())
    await asyncio.gather(*(stream() for _ in range(streams)))
    await working
    return [each - at[0] for each in at]


async def test_one_stream_goes_on_in_a_round(clock: SimpleNamespace) -> None:
    assert await turns_of(Rotation(), 4, clock) == [0, 1, 2, 3]


async def test_they_have_as_much_of_a_round_as_all_else(clock: SimpleNamespace) -> None:
    at = await turns_of(Rotation(), 9, clock, others=3.9 * TURN_SECONDS)
    assert at == [0, 1, 1, 1, 1, 2, 2, 2, 2]


async def test_but_not_all_of_a_long_one(clock: SimpleNamespace) -> None:
    at = await turns_of(Rotation(), 17, clock, others=3600)
    assert at == [0, *[1] * 8, *[2] * 8]


async def test_of_many_streams_each_has_shorter_turns_and_comes_as_often(
    clock: SimpleNamespace,
) -> None:
    rotation = Rotation()
    assert rotation.seconds == TURN_SECONDS
    waiting = [asyncio.create_task(rotation.wait()) for _ in range(4 * STREAMS - 1)]
    await asyncio.sleep(0)
    assert rotation.seconds == TURN_SECONDS / 4
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert [task.done() for task in waiting[:5]] == [True] * 4 + [False]
    await asyncio.gather(*waiting)


async def test_who_was_cancelled_takes_no_turn(clock: SimpleNamespace) -> None:
    rotation = Rotation()
    gone = asyncio.create_task(rotation.wait())
    await asyncio.sleep(0)
    gone.cancel()
    assert await turns_of(rotation, 2, clock) == [0, 1]


async def test_it_rests_while_nobody_waits_and_goes_on(clock: SimpleNamespace) -> None:
    rotation = Rotation()
    for _ in range(2):
        await rotation.wait()
        for _ in range(3):
            await asyncio.sleep(0)
        assert not rotation._is_going


async def test_a_stream_that_comes_again_lets_the_others_go_first() -> None:
    rotation, order = Rotation(), []

    async def stream(name: str) -> None:
        for _ in range(3):
            await rotation.turn()
            order.append(name)

    await asyncio.gather(*map(stream, "abc"))
    assert order == [*"abcabcabc"]


async def test_one_that_is_alone_waits_for_a_round_only() -> None:
    rotation = Rotation()
    for _ in range(3):
        await rotation.turn()
        assert not rotation._is_going
