"""A run that says more than may be kept: who listens, who waits for whom, who is sent off."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, nullcontext

import pytest
from mlserver.types import InferenceResponse

from mlserver_streaming.cache import flight as flights
from mlserver_streaming.cache.flight import RESPONSE_BYTES, Budget, Flight, LaggardError, Seat
from mlserver_streaming.recordings.recorded import Recorded
from tests.streams.planes import answer, said

WINDOW = 4


class Run:
    """A run of numbers, each of 100 bytes."""

    def __init__(self, count: int, keep_bytes: int, budget: Budget | None = None):
        self.given = 0
        self.closed = False
        self.whole: list[Recorded] | None = None
        self.open = True
        self.budget = budget or Budget(10**9)
        self.lost: list[bool] = []
        self.flight = Flight(
            self.budget, keep_bytes, WINDOW, self._on_whole, self._on_lost, self._on_close
        )
        self._count = count

    async def _on_whole(self, flight: Flight, records: list[Recorded]) -> None:
        self.whole = list(records)

    async def _on_lost(self, flight: Flight, failed: bool) -> None:
        self.lost.append(failed)

    def _on_close(self, flight: Flight) -> None:
        self.open = False

    async def _numbers(self) -> AsyncGenerator[InferenceResponse, None]:
        try:
            for number in range(self._count):
                self.given += 1
                yield answer(f"{number:0100}")
        finally:
            self.closed = True

    def start(self) -> None:
        self.flight.start(self._numbers(), nullcontext())


@asynccontextmanager
async def seats(run: Run, count: int) -> AsyncIterator[list[Seat]]:
    found = [run.flight.join() for _ in range(count)]
    run.start()
    try:
        yield found
    finally:
        for seat in found:
            seat.leave()
        await turns()


async def turns(count: int = 50) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def hear(seat: Seat) -> list[int]:
    """All that is left to hear."""
    return [int(said(each.original or each_of(each))[0]) async for some in seat for each in some]


def each_of(recorded: Recorded) -> InferenceResponse:
    return InferenceResponse(model_name="m", outputs=recorded.outputs)


async def test_a_run_that_is_kept_waits_for_nobody_and_can_be_joined_late() -> None:
    run = Run(50, keep_bytes=100 * 50)
    async with seats(run, 1) as [slow]:
        await turns(500)
        assert (run.given, run.closed) == (50, True)
        assert run.whole is not None and len(run.whole) == 50
        late = run.flight.join()
        assert await hear(late) == await hear(slow) == list(range(50))
        late.leave()


async def test_a_run_past_what_is_kept_waits_for_its_only_listener() -> None:
    run = Run(50, keep_bytes=100 * 10)
    async with seats(run, 1) as [seat]:
        await turns(500)
        assert run.given == 11
        assert not run.open
        assert await hear(seat) == list(range(50))
    assert run.whole is None
    assert run.closed


async def test_a_run_of_which_nothing_is_kept_is_its_listener_s_alone() -> None:
    run = Run(50, keep_bytes=0)
    async with seats(run, 1) as [seat]:
        await turns(500)
        assert run.given == WINDOW
        assert await hear(seat) == list(range(50))
    assert run.whole is None


async def test_the_budget_of_all_runs_bounds_what_one_may_keep() -> None:
    budget = Budget(12 * (100 + RESPONSE_BYTES))
    run = Run(50, keep_bytes=10**6, budget=budget)
    async with seats(run, 1) as [seat]:
        await turns(500)
        assert run.given == 13
        assert await hear(seat) == list(range(50))
    assert budget.take(12 * (100 + RESPONSE_BYTES))


async def test_all_that_was_taken_of_the_budget_comes_back() -> None:
    whole = 10**6
    for keep_bytes in (10**6, 1000, 0):
        for leave_early in (True, False):
            budget = Budget(whole)
            run = Run(30, keep_bytes, budget)
            async with seats(run, 2) as [one, other]:
                await turns()
                await anext(one)
                if not leave_early:
                    await asyncio.gather(hear(one), hear(other))
            assert budget.take(whole), (keep_bytes, leave_early)


async def test_once_nothing_is_kept_the_slowest_holds_the_others_up_for_a_while_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(flights, "PATIENCE_SECONDS", 0.02)
    run = Run(100, keep_bytes=100 * 10)
    async with seats(run, 2) as [quick, stuck]:
        first = [int(said(each_of(each))[0]) for each in await anext(stuck)]
        assert await hear(quick) == list(range(100))
        with pytest.raises(LaggardError, match='"cache": "skip"') as caught:
            await hear(stuck)
        assert caught.value.status_code == 408
        assert first[0] == 0


async def test_one_who_reads_late_but_reads_is_not_sent_off() -> None:
    run = Run(60, keep_bytes=100 * 10)
    async with seats(run, 2) as [quick, slow]:
        hearing = asyncio.create_task(hear(quick))
        heard: list[int] = []
        async for some in slow:
            heard += [int(said(each_of(each))[0]) for each in some]
            await turns(5)
        assert heard == await hearing == list(range(60))


async def test_one_who_leaves_frees_those_who_waited_for_him() -> None:
    run = Run(60, keep_bytes=100 * 10)
    async with seats(run, 2) as [quick, stuck]:
        hearing = asyncio.create_task(hear(quick))
        await turns(500)
        assert not hearing.done()
        stuck.leave()
        assert await hearing == list(range(60))


async def test_a_model_that_cancels_itself_fails() -> None:
    class Cancelled(Run):
        async def _numbers(self) -> AsyncGenerator[InferenceResponse, None]:
            yield answer("1")
            raise asyncio.CancelledError

    run = Cancelled(1, keep_bytes=1000)
    async with seats(run, 2) as both:
        for seat in both:
            with pytest.raises(RuntimeError, match="cancelled from within"):
                await hear(seat)
    assert run.whole is None
