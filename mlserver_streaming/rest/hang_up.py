"""Stop working for a client that has gone."""

import asyncio
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from starlette.requests import ClientDisconnect
from starlette.types import Receive

T = TypeVar("T")


@contextmanager
def stop_on_hang_up(receive: Receive) -> Iterator[None]:
    """Cancel the block when the client of an HTTP request goes away, and leave it quietly.

    The request's body must have been read. The block runs in the caller's own task, so a stream
    that it drives is closed by the task that opened it; any other cancellation passes through.
    """
    task = asyncio.current_task()
    assert task is not None
    hung_up = False

    async def watch() -> None:
        nonlocal hung_up
        while (await receive())["type"] != "http.disconnect":
            pass
        hung_up = True
        task.cancel()

    watcher = asyncio.create_task(watch())
    try:
        yield
    except asyncio.CancelledError:
        if not hung_up or task.uncancel():
            raise
    finally:
        watcher.cancel()


async def unless_hung_up(receive: Receive, work: Awaitable[T]) -> T:
    """What comes of the work, which is cancelled when the client goes away.

    Raises:
        ClientDisconnect: it has.
    """
    with stop_on_hang_up(receive):
        return await work
    raise ClientDisconnect
