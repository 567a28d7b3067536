"""The answers to a stream's requests: begun as the requests come, given in their order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable

from mlserver.types import InferenceRequest

from .answer import Answer


async def in_order(
    requests: AsyncIterator[InferenceRequest],
    begin: Callable[[InferenceRequest], Awaitable[Answer]],
    limit: int,
) -> AsyncGenerator[Answer, None]:
    """Begin each answer as its request comes, yield the answers in the order of the requests.

    Each answer is closed when the next one is asked for, and all of them when the iteration is.

    Args:
        begin: begins the answer to a request.
        limit: answers begun and not yet given, at least 1; past it no request is read.

    Raises:
        whatever `requests` or `begin` raises, in its place in the order.
    """
    slots = asyncio.Semaphore(limit)
    begun: asyncio.Queue[Answer | None] = asyncio.Queue()

    async def read() -> None:
        try:
            await slots.acquire()
            async for request in requests:
                begun.put_nowait(await begin(request))
                await slots.acquire()
        finally:
            begun.put_nowait(None)

    reader = asyncio.create_task(read())
    try:
        while (answer := await begun.get()) is not None:
            try:
                yield answer
            finally:
                answer.close()
            slots.release()
        await reader
    finally:
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)
        while not begun.empty():
            if left := begun.get_nowait():
                left.close()
