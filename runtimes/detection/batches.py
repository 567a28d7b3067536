"""Gather the items of many streams into batches, without waiting for any."""

import asyncio
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Executor
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class Batches(Generic[Item, Result]):
    """Runs one batch at a time in a thread; what comes meanwhile is the next batch.

    So a lone stream never waits for company, and busy ones share their batches.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Item]], Sequence[Result]],
        kind: Callable[[Item], Hashable],
        limit: int,
        executor: Executor,
    ):
        """
        Args:
            run: works on a batch in a thread; as many results as items, in their order.
            kind: only items of one kind fit into one batch.
            limit: items in a batch, at least 1.
        """
        self._run = run
        self._kind = kind
        self._limit = limit
        self._executor = executor
        self._waiting: deque[tuple[Item, asyncio.Future[Result]]] = deque()
        self._task: asyncio.Task[None] | None = None

    def put(self, item: Item) -> "asyncio.Future[Result]":
        """Ask for an item's result; cancelling the future before its batch begins withdraws it."""
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._work())
        return future

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while batch := self._next():
            items = [item for item, _ in batch]
            try:
                results = await loop.run_in_executor(self._executor, self._run, items)
            except Exception as error:
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)
                continue
            for (_, future), result in zip(batch, results, strict=True):
                if not future.done():
                    future.set_result(result)

    def _next(self) -> list[tuple[Item, "asyncio.Future[Result]"]]:
        """The oldest items, as far as they are of one kind."""
        batch: list[tuple[Item, asyncio.Future[Result]]] = []
        while self._waiting and len(batch) < self._limit:
            item, future = self._waiting[0]
            if future.done():
                self._waiting.popleft()
                continue
            if batch and self._kind(item) != self._kind(batch[0][0]):
                break
            batch.append(self._waiting.popleft())
        return batch
