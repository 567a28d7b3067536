"""Which response of a stream is its last, known before it is sent."""

import asyncio
import types
from collections.abc import AsyncGenerator, Generator
from contextvars import ContextVar
from typing import Any, TypeVar

Item = TypeVar("Item")

# Turns of the loop that a stream gets to end after a response: a model that has nothing more to say
# ends within these, one that works or waits does not, and its response is not held up.
TURNS = 5

# Set for what runs in `with_final`: a stream in another process must be watched there.
WANTED: ContextVar[bool] = ContextVar("final", default=False)

END: Any = object()
NOTHING: Any = object()


async def with_final(items: AsyncGenerator[Item, None]) -> AsyncGenerator[tuple[Item, bool], None]:
    """Each item, and whether it is the last.

    An item is called the last only where the generator ends without waiting for anything after
    it; one that ends later ends without a last item. The generator is closed at the end. Iterate
    and close this in one task.
    """
    WANTED.set(True)
    item = await anext(items, END)
    step = _Step()
    try:
        while item is not END:
            step = _Step(items)
            is_here = step.goes_on() or await step.taken(TURNS)
            yield item, is_here and step.item is END
            if not is_here:
                await step.taken()
            if step.error is not None:
                raise step.error
            item = step.item
    finally:
        await step.given_up()
        await items.aclose()


class _Step:
    """One step of a generator, which may be left waiting while something else is done.

    As a task would be, but for the task: each costs two turns of the event loop.

    Attributes:
        item: what came of it; END where the generator has ended.
        error: what it raised.
    """

    __slots__ = ("_steps", "_waits_for", "error", "item")

    def __init__(self, items: AsyncGenerator[Any, None] | None = None):
        self.item: Any = NOTHING
        self.error: BaseException | None = None
        self._steps: Any = None if items is None else anext(items, END).__await__()
        self._waits_for: Any = NOTHING

    def goes_on(self, error: BaseException | None = None) -> bool:
        """Go on to where it waits for something; whether it is done."""
        try:
            steps = self._steps
            self._waits_for = steps.send(None) if error is None else steps.throw(error)
            return False
        except StopIteration as end:
            self.item = end.value
        except asyncio.CancelledError:
            self._steps = None
            raise
        except BaseException as raised:
            self.error = raised
        self._steps = None
        return True

    @types.coroutine
    def taken(
        self, turns: int | None = None, error: BaseException | None = None
    ) -> Generator[Any, Any, bool]:
        """Go on until it is done, or has waited for so many turns of the loop; whether it is.

        Args:
            error: thrown in where it waits.
        """
        while True:
            if self._waits_for is NOTHING and self.goes_on(error):
                return True
            if turns == 0:
                return False
            error = None
            try:
                if turns is None:
                    yield self._waits_for
                else:
                    turns -= 1
                    yield
                    waits_for = self._waits_for
                    if waits_for is not None and not waits_for.done():
                        continue
            except asyncio.CancelledError as cancelled:
                if turns is not None and _cancels(self._waits_for):
                    # As if the task had waited for it, and were told now.
                    turns = None
                    continue
                error = cancelled
            except BaseException as raised:
                error = raised
            self._waits_for = NOTHING

    async def given_up(self) -> None:
        """Have it end where it waits, as a task that is cancelled does."""
        if self._steps is None or self._waits_for is NOTHING:
            return
        task = asyncio.current_task()
        cancelled = task.cancelling() if task else 0
        error = None
        if not _cancels(self._waits_for):
            self._waits_for, error = NOTHING, asyncio.CancelledError()
        try:
            await self.taken(error=error)
        except asyncio.CancelledError:
            if task and task.cancelling() > cancelled:
                raise


def _cancels(waited_for: Any) -> bool:
    """Cancel what is waited for; whether there is anything."""
    return waited_for is not None and bool(waited_for.cancel())
