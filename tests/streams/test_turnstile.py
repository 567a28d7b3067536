"""Streams pass freely in calm, and one for each round of the loop while calls come in."""

import asyncio

from mlserver_streaming.streams import turnstile
from mlserver_streaming.streams.turnstile import Turnstile


async def rounds_of(gate: Turnstile, streams: int) -> list[int]:
    """In which round of the loop, counted from the first, each stream got its turn."""
    at: list[int] = []
    rounds = 0

    async def count() -> None:
        nonlocal rounds
        while len(at) < streams:
            rounds += 1
            await asyncio.sleep(0)

    async def stream() -> None:
        await gate.turn()
        at.append(rounds)

    counting = asyncio.create_task(count())
    await asyncio.gather(*(stream() for _ in range(streams)))
    await counting
    return [each - at[0] for each in at]


async def test_a_stream_passes_freely_in_calm() -> None:
    assert Turnstile().is_open()


async def test_one_stream_a_round_while_calls_come_in(monkeypatch) -> None:
    monkeypatch.setattr(turnstile, "CALM_SECONDS", 3600.0)
    gate = Turnstile()
    gate.arrived()
    assert not gate.is_open()
    assert await rounds_of(gate, 4) == [0, 1, 2, 3]


async def test_all_pass_once_it_is_calm() -> None:
    assert await rounds_of(Turnstile(), 4) == [0, 0, 0, 0]


async def test_who_was_cancelled_takes_no_turn(monkeypatch) -> None:
    monkeypatch.setattr(turnstile, "CALM_SECONDS", 3600.0)
    gate = Turnstile()
    gate.arrived()
    gone = asyncio.create_task(gate.turn())
    await asyncio.sleep(0)
    gone.cancel()
    assert await rounds_of(gate, 2) == [0, 1]


async def test_a_long_round_is_no_calm(monkeypatch) -> None:
    monkeypatch.setattr(turnstile, "CALM_SECONDS", 0.0)
    gate = Turnstile()
    gate.arrived()
    assert not gate.is_open()
    assert await rounds_of(gate, turnstile.CALM_ROUNDS + 3) == [
        *range(turnstile.CALM_ROUNDS),
        *[turnstile.CALM_ROUNDS] * 3,
    ]
    assert gate.is_open()
