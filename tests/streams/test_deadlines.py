"""The request parameter `timeout`, and the bound on one request of several."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlserver_streaming.errors import BadRequestError, DeadlineError
from mlserver_streaming.streams.deadlines import (
    less_slack,
    request_is_late,
    timeout_seconds,
    undisturbed,
    within,
)
from tests.streams.planes import ask


@pytest.mark.parametrize(
    ("timeout", "seconds"), [(1, 1e-6), (2_500_000, 2.5), ("2500000", 2.5), (0, None), ("0", None)]
)
def test_microseconds(timeout: Any, seconds: float | None):
    assert timeout_seconds(ask(timeout=timeout)) == seconds


def test_without_one_there_is_none():
    assert timeout_seconds(ask()) is None
    assert timeout_seconds(ask(other=1)) is None


@pytest.mark.parametrize("timeout", [-1, 1.5, "soon", "", "-1", True, [1], {}, "9" * 19, "1e3"])
def test_what_is_no_number_of_microseconds_is_refused(timeout: Any):
    with pytest.raises(BadRequestError, match="'timeout'"):
        timeout_seconds(ask(timeout=timeout))


async def test_a_block_that_takes_too_long_is_cut():
    seen: list[bool] = []
    with pytest.raises(DeadlineError) as caught:
        async with within(0.001):
            try:
                await asyncio.Event().wait()
            finally:
                seen.append(request_is_late())
    assert caught.value.status_code == 504
    assert seen == [True]
    assert not request_is_late()


async def test_what_may_not_be_disturbed_is_done_first():
    done: list[str] = []
    with pytest.raises(DeadlineError):
        async with within(0.001):
            with undisturbed():
                await asyncio.sleep(0.01)
                done.append("written")
            await asyncio.Event().wait()
    assert done == ["written"]
    with undisturbed():  # no request of this task has an end
        await asyncio.sleep(0)


async def test_a_hang_up_does_disturb():
    async def work() -> None:
        async with within(60):
            with undisturbed():
                await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_block_that_somebody_else_cuts_is_not_late():
    seen: list[bool] = []

    async def work() -> None:
        async with within(60):
            try:
                await asyncio.Event().wait()
            finally:
                seen.append(request_is_late())

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert seen == [False]


async def test_a_block_that_is_done_in_time_is_left_alone():
    async with within(60):
        assert not request_is_late()
    async with within(None):
        assert not request_is_late()


async def test_a_timeout_of_the_block_s_own_is_its_own():
    with pytest.raises(TimeoutError, match="mine"):
        async with within(60):
            raise TimeoutError("mine")


@given(st.floats(0, 1e6))
def test_slack_is_earlier_and_little(seconds: float):
    assert seconds * 0.9 - 0.1 <= less_slack(seconds) < seconds
