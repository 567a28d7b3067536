"""What is sent, from a source that outlives the calls it is sent on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Iterable
from contextlib import suppress
from typing import Any, Generic, Self, TypeVar

Item = TypeVar("Item")


class LastingSource(Generic[Item]):
    """A source whose next item may be waited for, and given up, any number of times: none is lost.

    Cancelling who waits for an async generator ends the generator; here it goes on. `is_over` once
    its end was met.
    """

    def __init__(self, source: Iterable[Item] | AsyncIterable[Item]) -> None:
        self._source: Any = (
            aiter(source) if isinstance(source, AsyncIterable) else _each(iter(source))
        )
        self._upcoming: asyncio.Future[Item] | None = None
        self.is_over = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Item:
        if self._upcoming is None:
            self._upcoming = asyncio.ensure_future(anext(self._source))
        # Unlike a bare await, wait() does not hand our own cancelling on.
        await asyncio.wait({self._upcoming})
        upcoming, self._upcoming = self._upcoming, None
        try:
            return upcoming.result()
        except StopAsyncIteration:
            self.is_over = True
            raise

    async def aclose(self) -> None:
        """Give up the source."""
        if self._upcoming is not None:
            self._upcoming.cancel()
            with suppress(asyncio.CancelledError, StopAsyncIteration, Exception):
                await self._upcoming
        if hasattr(self._source, "aclose"):
            await self._source.aclose()


async def _each(items: Any) -> Any:
    for item in items:
        yield item
