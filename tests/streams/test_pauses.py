"""Work that is paused before it waits: when the pause runs, and where a cancellation goes."""

import asyncio

import pytest

from mlserver_streaming.streams.pauses import with_pauses


async def noted(log, steps):
    """Notes its steps; a number is waited for, as so many turns of the loop."""
    try:
        for step in steps:
            if isinstance(step, int):
                for _ in range(step):
                    await asyncio.sleep(0)
            else:
                log.append(step)
    except asyncio.CancelledError:
        log.append("cancelled")
        raise
    finally:
        log.append("closed")


async def test_a_pause_before_each_wait_and_none_where_all_is_ready():
    log = []

    async def pause():
        log.append("pause")

    await with_pauses(noted(log, ["a", "b", 1, "c", 2]), pause)
    assert log == ["a", "b", "pause", "c", "pause", "pause", "closed"]


async def test_a_pause_that_is_over_at_once():
    log = []
    await with_pauses(noted(log, ["a", 1, "b"]), lambda: log.append("pause"))
    assert log == ["a", "pause", "b", "closed"]


async def test_a_pause_may_wait_longer_than_the_work():
    found = []
    future = asyncio.get_running_loop().create_future()

    async def work():
        found.append(await future)

    async def pause():
        future.set_result("done")
        for _ in range(5):
            await asyncio.sleep(0)

    await with_pauses(work(), pause)
    assert found == ["done"]


@pytest.mark.parametrize("in_pause", [True, False])
async def test_a_cancellation_reaches_the_work(in_pause):
    log, waits = [], asyncio.Event()

    async def pause():
        waits.set()
        if in_pause:
            await asyncio.Event().wait()

    async def paused():
        await with_pauses(noted(log, [10**9]), pause)

    task = asyncio.create_task(paused())
    await waits.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert log == ["cancelled", "closed"]


async def test_an_error_of_the_pause_reaches_the_work_and_comes_out():
    log = []

    async def pause():
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        await with_pauses(noted(log, [1, "a"]), pause)
    assert log == ["closed"]


async def test_an_error_of_the_work_comes_out():
    async def work():
        await asyncio.sleep(0)
        raise ValueError("mine")

    async def pause():
        pass

    with pytest.raises(ValueError, match="mine"):
        await with_pauses(work(), pause)
