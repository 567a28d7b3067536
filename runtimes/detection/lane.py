"""Work that must be done in the order in which it was asked for, though prepared side by side.

A camera's frames may be decoded in any order; its background must learn them one after another.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any, TypeVar

Result = TypeVar("Result")


class Lane:
    """Gives out turns. A lane belongs to one sequence, or to one stream without sequences.

    Attributes:
        memory: what the model keeps for this lane; only the one whose turn it is may touch it.
    """

    def __init__(self, memory: Any = None):
        self.memory = memory
        self._last: asyncio.Future[None] | None = None

    def turn(self) -> "Turn":
        """The next turn: it comes when all that were given out before have passed on."""
        turn = Turn(self._last)
        self._last = turn.passed
        return turn


class Turn:
    """One place in the order. Every turn must be passed on, also one that is never used."""

    def __init__(self, before: "asyncio.Future[None] | None"):
        self.passed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._before = before
        self._work: asyncio.Future[Any] | None = None

    async def run(self, executor: Executor, work: Callable[..., Result], *arguments: Any) -> Result:
        """Wait for the turn, then run `work` in a thread. Cancelling leaves the thread its turn."""
        if self._before is not None:
            await asyncio.shield(self._before)
        loop = asyncio.get_running_loop()
        self._work = loop.run_in_executor(executor, work, *arguments)
        return await asyncio.shield(self._work)

    def pass_on(self) -> None:
        """The next one may come, once what is before it and its own thread are done."""
        for waited in (self._work, self._before):
            if waited is not None and not waited.done():
                waited.add_done_callback(lambda _: self.pass_on())
                return
        if self._work is not None and not self._work.cancelled():
            self._work.exception()  # nobody may be left to be told
        if not self.passed.done():
            self.passed.set_result(None)
