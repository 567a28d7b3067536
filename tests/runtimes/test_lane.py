import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from runtimes.detection.lane import Lane


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as executor:
        yield executor


async def test_turns_come_in_the_order_in_which_they_were_taken(pool: ThreadPoolExecutor) -> None:
    lane, done = Lane(), []
    turns = [lane.turn() for _ in range(20)]

    async def go(number: int) -> None:
        try:
            await turns[number].run(pool, done.append, number)
        finally:
            turns[number].pass_on()

    # Asked for from the last to the first.
    await asyncio.gather(*(go(number) for number in reversed(range(20))))
    assert done == list(range(20))


async def test_a_turn_that_is_never_used_is_passed_over(pool: ThreadPoolExecutor) -> None:
    lane = Lane()
    first, second, third = lane.turn(), lane.turn(), lane.turn()
    second.pass_on()
    waiting = asyncio.create_task(third.run(pool, int))
    for _ in range(3):
        await asyncio.sleep(0)
    assert not waiting.done()
    first.pass_on()
    assert await waiting == 0


async def test_a_cancelled_turn_lasts_until_its_thread_is_done(pool: ThreadPoolExecutor) -> None:
    lane, begun, end, log = Lane(), threading.Event(), threading.Event(), []

    def slow() -> None:
        begun.set()
        end.wait(10)
        log.append("slow")

    first, second = lane.turn(), lane.turn()
    task = asyncio.create_task(first.run(pool, slow))
    await asyncio.get_running_loop().run_in_executor(pool, begun.wait, 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    first.pass_on()
    following = asyncio.create_task(second.run(pool, log.append, "next"))
    await asyncio.sleep(0)
    end.set()
    await following
    assert log == ["slow", "next"]


async def test_an_error_is_the_callers_and_does_not_stop_the_lane(pool: ThreadPoolExecutor) -> None:
    lane = Lane()
    first, second = lane.turn(), lane.turn()
    with pytest.raises(ZeroDivisionError):
        await first.run(pool, lambda: 1 // 0)
    first.pass_on()
    assert await second.run(pool, lambda: 7) == 7
