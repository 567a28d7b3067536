"""One stream that carries several: each one's items are worked on in order, the streams beside one
another."""

import asyncio
from collections.abc import AsyncIterator, Callable, Hashable
from contextlib import aclosing
from typing import Any, TypeVar

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

Item = TypeVar("Item")
Result = TypeVar("Result")

# Items that wait for their stream's work; past it nothing more is read from anybody.
ITEMS_AHEAD = 8
RESULTS_AHEAD = 8


async def side_by_side(
    items: AsyncIterator[tuple[Hashable, Item, bool]],
    work: Callable[[Item], AsyncIterator[Result]],
) -> AsyncIterator[Result]:
    """The results of the work on each item, as they come.

    Args:
        items: each with the key of its stream, and whether it is that stream's last.
        work: the results of one item. Started for an item when those of the item before it, of
            the same key, are all there.

    Raises:
        whatever `items` or `work` raises first, after the results that came before it.
    """
    send, results = anyio.create_memory_object_stream[Result](RESULTS_AHEAD)
    runner = asyncio.create_task(_run(items, work, send))
    try:
        async for result in results:
            yield result
        await runner
    finally:
        runner.cancel()
        results.close()
        await asyncio.gather(runner, return_exceptions=True)


async def _run(
    items: AsyncIterator[tuple[Hashable, Item, bool]],
    work: Callable[[Item], AsyncIterator[Result]],
    results: MemoryObjectSendStream[Result],
) -> None:
    lanes: dict[Hashable, MemoryObjectSendStream[Item]] = {}

    async def run_lane(lane: MemoryObjectReceiveStream[Item]) -> None:
        async with lane:
            async for item in lane:
                found: Any = work(item)
                async with aclosing(found):
                    async for result in found:
                        await results.send(result)

    try:
        async with results, asyncio.TaskGroup() as tasks:
            async for key, item, last in items:
                if key not in lanes:
                    lanes[key], lane = anyio.create_memory_object_stream[Item](ITEMS_AHEAD)
                    tasks.create_task(run_lane(lane))
                await lanes[key].send(item)
                if last:
                    lanes.pop(key).close()
            for lane_input in lanes.values():
                lane_input.close()
    except BaseExceptionGroup as group:
        raise group.exceptions[0] from group.exceptions[0].__cause__
    finally:
        for lane_input in lanes.values():
            lane_input.close()
