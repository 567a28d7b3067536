"""By when a caller wants its answer: the request parameter `timeout`, and gRPC's deadlines."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar

from mlserver.types import InferenceRequest

from ..errors import BadRequestError, DeadlineError

MAX_DIGITS = 18
# A client may give up a little before the deadline that it told the server: clocks and rounding.
# https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md (TimeoutValue)
SLACK_SECONDS, SLACK_SHARE = 0.05, 0.02

_REQUEST: ContextVar[asyncio.Timeout | None] = ContextVar("request", default=None)


def timeout_seconds(payload: InferenceRequest) -> float | None:
    """The request parameter `timeout` (microseconds, as Triton has it) in seconds; 0 is none.

    Its neighbour `priority` is read as Triton reads it where a model has no levels of priority, as
    none here: it must be a number, and changes nothing.

    Raises:
        BadRequestError: it is not a number of microseconds, or `priority` not a number.
    """
    given = (payload.parameters.model_extra or {}) if payload.parameters else {}
    if "priority" in given and not _is_number(given["priority"]):
        raise BadRequestError("Parameter 'priority' must be a whole number, 0 or more.")
    found = given.get("timeout")
    if found is None:
        return None
    if not _is_number(found):
        raise BadRequestError("Parameter 'timeout' must be a whole number of microseconds.")
    return int(found) / 1e6 or None


def _is_number(found: object) -> bool:
    text = str(found)
    return not isinstance(found, bool) and text.isdecimal() and len(text) <= MAX_DIGITS


@asynccontextmanager
async def within(seconds: float | None) -> AsyncIterator[None]:
    """Bound the answer to one request of a call that has several.

    Raises:
        DeadlineError: the block took longer.
    """
    if seconds is None:
        yield
        return
    timeout = asyncio.timeout(seconds)
    token = _REQUEST.set(timeout)
    try:
        async with timeout:
            yield
    except TimeoutError as error:
        if not timeout.expired():
            raise
        raise DeadlineError(seconds) from error
    finally:
        _REQUEST.reset(token)


@contextmanager
def undisturbed() -> Iterator[None]:
    """What this task does in the block is not cut short by `within`; its end comes after it.

    For a write to the wire: gRPC goes on with one that is cancelled, and takes no other meanwhile.
    """
    timeout = _REQUEST.get()
    when = timeout.when() if timeout is not None else None
    if timeout is None or when is None or timeout.expired():
        yield
        return
    timeout.reschedule(None)
    try:
        yield
    finally:
        timeout.reschedule(when)


def request_is_late() -> bool:
    """Whether the request that this task answers is being ended for its `timeout`."""
    timeout = _REQUEST.get()
    return timeout is not None and timeout.expired()


def less_slack(seconds: float) -> float:
    """The earliest that a client which set this deadline may give up."""
    return seconds * (1 - SLACK_SHARE) - SLACK_SECONDS
