"""Work on a stream's items overlaps; its results keep the order of the items."""

import asyncio
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest

from mlserver_streaming.models.ordered import ordered


class Work:
    """Futures that a test finishes when it likes."""

    def __init__(self) -> None:
        self.futures: dict[int, asyncio.Future[int]] = {}
        self.source_closed = False
        self.given = 0

    async def items(self, count: int) -> AsyncGenerator[int, None]:
        try:
            for item in range(count):
                self.given += 1
                yield item
        finally:
            self.source_closed = True

    def start(self, item: int) -> asyncio.Future[int]:
        self.futures[item] = asyncio.get_running_loop().create_future()
        return self.futures[item]

    async def until_started(self, count: int) -> None:
        await turns()
        assert len(self.futures) == count


async def turns(count: int = 20) -> None:
    """Let everything run that can."""
    for _ in range(count):
        await asyncio.sleep(0)


async def test_results_keep_the_order_of_the_items() -> None:
    work = Work()

    async def consume() -> list[int]:
        return [result async for result in ordered(work.items(3), work.start, 3)]

    consumer = asyncio.create_task(consume())
    await work.until_started(3)
    for item in (2, 0, 1):
        work.futures[item].set_result(item * 10)
        await turns()
    assert await consumer == [0, 10, 20]
    assert work.source_closed


@pytest.mark.parametrize("limit", [1, 2, 5])
async def test_no_more_than_the_limit_is_started_and_not_taken(limit: int) -> None:
    work = Work()
    results = ordered(work.items(100), work.start, limit)
    first = asyncio.create_task(anext(results))
    await turns()
    assert len(work.futures) == work.given == limit
    work.futures[0].set_result(0)
    assert await first == 0
    await turns()
    # The reader of the results has not asked for the next yet, and may never.
    assert len(work.futures) == limit
    second = asyncio.create_task(anext(results))
    await turns()
    assert len(work.futures) == limit + 1
    second.cancel()
    await asyncio.gather(second, return_exceptions=True)
    await results.aclose()


@pytest.mark.parametrize("limit", [1, 2, 8])
async def test_a_client_that_waits_for_each_answer_before_it_asks_again_is_served(
    limit: int,
) -> None:
    asked: asyncio.Queue[int | None] = asyncio.Queue()

    async def requests() -> AsyncGenerator[int, None]:
        while (item := await asked.get()) is not None:
            yield item

    def start(item: int) -> asyncio.Future[int]:
        return asyncio.ensure_future(asyncio.sleep(0, item))

    results = ordered(requests(), start, limit)
    async with asyncio.timeout(10):
        for item in range(20):
            asked.put_nowait(item)
            assert await anext(results) == item
        asked.put_nowait(None)
        assert [result async for result in results] == []


async def test_an_error_of_the_work_comes_in_its_place() -> None:
    work = Work()
    results = ordered(work.items(10), work.start, 3)
    first = asyncio.create_task(anext(results))
    await work.until_started(3)
    work.futures[1].set_exception(KeyError("the second"))
    work.futures[2].set_exception(KeyError("the third"))  # never asked for, and no warning
    work.futures[0].set_result(0)
    assert await first == 0
    with pytest.raises(KeyError, match="the second"):
        await anext(results)
    assert work.source_closed
    with pytest.raises(StopAsyncIteration):
        await anext(results)


async def test_an_error_of_the_source_comes_after_the_results_before_it() -> None:
    async def broken() -> AsyncGenerator[int, None]:
        yield 0
        yield 1
        raise ConnectionError("the client is gone")

    got = []
    with pytest.raises(ConnectionError):
        async for result in ordered(
            broken(), lambda item: asyncio.ensure_future(asyncio.sleep(0, item)), 8
        ):
            got.append(result)
    assert got == [0, 1]


async def test_an_error_of_the_start_comes_after_the_results_before_it() -> None:
    work = Work()

    def start(item: int) -> asyncio.Future[int]:
        if item == 1:
            raise RuntimeError("the pool is shut down")
        future = work.start(item)
        future.set_result(item)
        return future

    results = ordered(work.items(3), start, 8)
    assert await anext(results) == 0
    with pytest.raises(RuntimeError):
        await anext(results)
    assert work.source_closed


async def test_nothing_gives_nothing() -> None:
    work = Work()
    assert [result async for result in ordered(work.items(0), work.start, 1)] == []
    assert work.source_closed


async def test_closing_cancels_what_is_not_done_and_closes_the_source() -> None:
    work = Work()
    results = ordered(work.items(100), work.start, 3)
    first = asyncio.create_task(anext(results))
    await work.until_started(3)
    work.futures[0].set_result(0)
    await first
    await results.aclose()
    assert work.source_closed
    assert work.futures[1].cancelled()
    assert work.futures[2].cancelled()
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_closing_ends_a_source_that_waits_for_its_client() -> None:
    closed = asyncio.Event()

    async def silent() -> AsyncGenerator[int, None]:
        try:
            yield 0
            await asyncio.Event().wait()
        finally:
            closed.set()

    results = ordered(silent(), lambda item: asyncio.ensure_future(asyncio.sleep(0, item)), 4)
    assert await anext(results) == 0
    await turns()
    await results.aclose()
    assert closed.is_set()


async def test_cancelling_cancels_what_is_not_done_and_closes_the_source() -> None:
    work = Work()

    async def consume() -> None:
        async for _ in ordered(work.items(100), work.start, 3):
            pass

    consumer = asyncio.create_task(consume())
    await work.until_started(3)
    consumer.cancel()
    with pytest.raises(asyncio.CancelledError):
        await consumer
    await turns()
    assert work.source_closed
    assert all(future.cancelled() for future in work.futures.values())
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_work_that_runs_in_a_thread_is_not_waited_for_and_what_queues_behind_never_runs() -> (
    None
):
    running, release = Event(), Event()
    ran: list[int] = []

    def block(item: int) -> None:
        ran.append(item)
        running.set()
        release.wait(10)

    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(1) as pool:
        work = Work()
        results = ordered(work.items(9), lambda item: loop.run_in_executor(pool, block, item), 4)
        first = asyncio.create_task(anext(results))
        await asyncio.to_thread(running.wait, 10)
        await turns()
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        assert not release.is_set()  # back already, while the thread still works
        release.set()
    assert ran == [0]
