"""The loop belongs to everybody: long work takes turns with all the others'.

Whatever a request makes the service do is bounded (`limits`), and what may still take longer than a
few milliseconds is written in steps (tensors/steps.py) and run here. A deadline, a hang-up and the
drain cancel the task in its next turn.

Not in a thread: most of it is in C calls that hold the interpreter's lock, which a thread would
hold just as long, and one that runs Python makes the loop wait 5 ms for each of its own turns.
"""

import asyncio
from time import monotonic
from weakref import WeakKeyDictionary

from ..tensors.steps import Steps, T

# How long such work goes on before the loop goes round.
TURN_SECONDS = 0.002
# How long it goes on, turns included, before another's may: all together get one turn in a round.
SHARE_SECONDS = 0.02

_AT_WORK: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()


async def in_turns(steps: Steps[T]) -> T:
    """Run work to its end. What is done in one step, as for all that is small, takes no turn."""
    try:
        next(steps)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]
    at_work = _AT_WORK.setdefault(asyncio.get_running_loop(), asyncio.Lock())
    try:
        while True:
            async with at_work:
                share_over = monotonic() + SHARE_SECONDS
                while True:
                    turn_over = monotonic() + TURN_SECONDS
                    next(steps)
                    while monotonic() < turn_over:
                        next(steps)
                    await asyncio.sleep(0)
                    if monotonic() >= share_over:
                        break
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]
    finally:
        steps.close()
