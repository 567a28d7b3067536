"""Know, without a task or a timer, when a coroutine is about to wait."""

import types
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any


@types.coroutine
def with_pauses(
    work: Coroutine[Any, Any, None], pause: Callable[[], Awaitable[None] | None]
) -> Generator[Any, Any, None]:
    """Run `work`, and `pause` each time before it waits for anything.

    A pause that is over at once gives None.

    What `pause` raises, or what is thrown in while it runs (a cancellation), reaches `work` at the
    point where it waits, as if it had waited already.
    """
    steps = work.__await__()
    reply: Any = None
    error: BaseException | None = None
    while True:
        try:
            waited_for = steps.send(reply) if error is None else steps.throw(error)
        except StopIteration:
            return
        reply = error = None
        try:
            if (pausing := pause()) is not None:
                yield from pausing.__await__()
            reply = yield waited_for
        except BaseException as raised:
            error = raised
