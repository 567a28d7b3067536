"""Long work and everybody else's turns, counted in rounds of the loop."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from mlserver_streaming.streams import turns
from mlserver_streaming.streams.turns import in_turns
from mlserver_streaming.tensors.steps import Steps


@contextmanager
def rounds() -> Iterator[SimpleNamespace]:
    """Counts rounds of the loop in the block."""
    found = SimpleNamespace(count=0)

    async def go_round() -> None:
        while True:
            found.count += 1
            await asyncio.sleep(0)

    task = asyncio.ensure_future(go_round())
    yield found
    task.cancel()


@pytest.fixture(autouse=True)
def every_step_is_a_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "TURN_SECONDS", 0.0)


def work(steps: int, log: list[str] | None = None, name: str = "") -> Steps[int]:
    for _ in range(steps):
        if log is not None:
            log.append(name)
        yield
    return steps


async def test_what_is_done_at_once_takes_no_turn() -> None:
    with rounds() as seen:
        assert await in_turns(work(0)) == 0
        assert seen.count == 0


async def test_the_loop_goes_round_between_steps() -> None:
    with rounds() as seen:
        # The first step begins at once.
        assert await in_turns(work(50)) == 50
        assert seen.count >= 48


async def test_an_error_comes_out_of_it() -> None:
    def fails() -> Steps[None]:
        yield
        yield
        raise KeyError

    with pytest.raises(KeyError):
        await in_turns(fails())


async def test_work_that_is_cancelled_is_closed_in_its_next_turn() -> None:
    closed = False

    def endless() -> Steps[None]:
        nonlocal closed
        try:
            while True:
                yield
        finally:
            closed = True

    task = asyncio.ensure_future(in_turns(endless()))
    for _ in range(5):
        await asyncio.sleep(0)
    assert not task.done()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert closed
    # Nothing of it is left in the way of the next.
    assert await in_turns(work(3)) == 3


async def test_many_together_take_one_turn_in_a_round(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "SHARE_SECONDS", 0.0)
    with rounds() as seen:
        await asyncio.gather(*(in_turns(work(10)) for _ in range(10)))
        assert seen.count >= 80


async def test_none_of_several_waits_for_another_s_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "SHARE_SECONDS", 1e-9)
    log: list[str] = []
    await asyncio.gather(in_turns(work(1000, log, "a")), in_turns(work(10, log, "b")))
    assert len(log) - 1 - log[::-1].index("b") < 900
