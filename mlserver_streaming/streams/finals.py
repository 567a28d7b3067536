"""Which response of a stream is its last, known before it is sent."""

import asyncio
from collections.abc import AsyncGenerator
from contextvars import ContextVar, copy_context
from typing import Any, TypeVar

Item = TypeVar("Item")

# Turns of the loop that a stream gets to end after a response: a model that has nothing more to say
# ends within these, one that works or waits does not, and its response is not held up.
TURNS = 5

# Set for what runs in `with_final`: a stream in another process must be watched there.
WANTED: ContextVar[bool] = ContextVar("final", default=False)


async def with_final(items: AsyncGenerator[Item, None]) -> AsyncGenerator[tuple[Item, bool], None]:
    """Each item, and whether it is the last.

    An item is called the last only where the generator ends without waiting for anything after
    it; one that ends later ends without a last item. The generator is closed at the end.
    """
    # The generator's steps are tasks, so that one can be left waiting; they share one context
    # because a model's context variables are set in its first step and reset in its last.
    context = copy_context()
    context.run(WANTED.set, True)

    async def step() -> Any:
        return await anext(items, None)

    async def close() -> None:
        upcoming.cancel()
        await asyncio.gather(upcoming, return_exceptions=True)
        await items.aclose()

    upcoming = asyncio.create_task(step(), context=context)
    try:
        while (item := await upcoming) is not None:
            upcoming = asyncio.create_task(step(), context=context)
            for _ in range(TURNS):
                await asyncio.sleep(0)
                if upcoming.done():
                    break
            ended = upcoming.done() and not upcoming.exception() and upcoming.result() is None
            yield item, ended
    finally:
        # Shielded: a second cancellation must not leave the generator open.
        await asyncio.shield(asyncio.create_task(close(), context=context))
