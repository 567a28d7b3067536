"""By when a caller wants its answer: the request parameter `timeout`, and gRPC's deadlines."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar

from mlserver.types import InferenceRequest

from .errors import BadRequestError, DeadlineError

MAX_TIMEOUT_DIGITS = 18
# A client may give up a little before the deadline that it told the server: clocks and rounding.
# https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md (TimeoutValue)
SLACK_SECONDS, SLACK_SHARE = 0.05, 0.02

_REQUEST_DUE: ContextVar[float | None] = ContextVar("request_due", default=None)


def timeout_seconds(payload: InferenceRequest) -> float | None:
    """The request parameter `timeout` (microseconds, as Triton has it) in seconds; 0 is none.

    Raises:
        BadRequestError: it is not a number of microseconds.
    """
    found = (payload.parameters.model_extra or {}).get("timeout") if payload.parameters else None
    if found is None:
        return None
    text = str(found)
    if isinstance(found, bool) or not text.isdecimal() or len(text) > MAX_TIMEOUT_DIGITS:
        raise BadRequestError("Parameter 'timeout' must be a whole number of microseconds.")
    return int(text) / 1e6 or None


@asynccontextmanager
async def within(seconds: float | None) -> AsyncIterator[None]:
    """Bound the answer to one request of a call that has several.

    Raises:
        DeadlineError: the block took longer.
    """
    if seconds is None:
        yield
        return
    token = _REQUEST_DUE.set(time.monotonic() + seconds)
    try:
        async with asyncio.timeout(seconds) as timeout:
            yield
    except TimeoutError as error:
        if not timeout.expired():
            raise
        raise DeadlineError(seconds) from error
    finally:
        _REQUEST_DUE.reset(token)


def request_due() -> float | None:
    """When (on the monotonic clock) the request that this task answers must be done."""
    return _REQUEST_DUE.get()


def less_slack(seconds: float) -> float:
    """The earliest that a client which set this deadline may give up."""
    return seconds * (1 - SLACK_SHARE) - SLACK_SECONDS
