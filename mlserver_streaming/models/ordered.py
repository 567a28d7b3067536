"""Overlap the work on a stream's items, and keep their order."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


async def ordered(
    items: AsyncGenerator[Item, None],
    start: Callable[[Item], "asyncio.Future[Result]"],
    limit: int,
) -> AsyncGenerator[Result, None]:
    """Start work on each item as it comes, yield the results in the order of the items.

    At most `limit` items are started and not yet yielded, so a slow reader stops the reading.
    When the iteration is closed or cancelled, work that has not begun is cancelled and work
    that runs in a thread is not waited for.

    Args:
        items: read eagerly, up to the limit, by a task that this generator owns, which closes it.
        start: begins the work and returns at once with its future.
        limit: items in work, at least 1.

    Raises:
        whatever `items` or a future raises, in its place in the order.
    """
    slots = asyncio.Semaphore(limit)
    started: asyncio.Queue[asyncio.Future[Result] | None] = asyncio.Queue()

    async def read() -> None:
        try:
            async with aclosing(items):
                await slots.acquire()
                async for item in items:
                    started.put_nowait(start(item))
                    await slots.acquire()
        finally:
            started.put_nowait(None)

    reader = asyncio.create_task(read())
    try:
        while (future := await started.get()) is not None:
            yield await future
            slots.release()
        await reader
    finally:
        reader.cancel()
        while not started.empty():
            if left := started.get_nowait():
                left.cancel()
                left.add_done_callback(_retrieve)
        await asyncio.gather(reader, return_exceptions=True)


def _retrieve(future: "asyncio.Future[Result]") -> None:
    """Mark a dropped future's exception as seen: nobody is left to be told."""
    if not future.cancelled():
        future.exception()
