"""One stream to one model: its slot, its figures, its span's events, its line in the log."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol

from mlserver import MLModel
from mlserver.types import InferenceResponse
from opentelemetry import trace

from . import calls, stream_log
from .calls import Call
from .errors import (
    DeadlineError,
    DrainingError,
    IdleError,
    MLServerError,
    OverLimitError,
    failure_of,
)
from .limits import Limits
from .metrics import MeasuredStream, StreamMetrics

REASONS: dict[type[MLServerError], str] = {
    IdleError: "idle",
    DeadlineError: "deadline",
    DrainingError: "drain",
    OverLimitError: "rejected",
}


class HasRequests(Protocol):
    """What a stream reads: how many requests it was, and the id of the last."""

    count: int
    last_id: str | None


class Stream:
    """A stream at work."""

    __slots__ = ("_measured", "_span", "responses")

    def __init__(self, measured: MeasuredStream):
        self._measured = measured
        self._span = trace.get_current_span()
        self.responses = 0

    def responded(self, response: InferenceResponse) -> None:
        """A response is about to leave."""
        self._measured.responded()
        if not self.responses and self._span.is_recording():
            self._span.add_event("first response")
        self.responses += 1
        if not response.outputs and failure_of(response):
            self._measured.errors += 1


class Streams:
    """Opens streams."""

    def __init__(self, limits: Limits, metrics: StreamMetrics):
        self._limits = limits
        self._metrics = metrics

    @asynccontextmanager
    async def open(self, model: MLModel, requests: HasRequests) -> AsyncIterator[Stream]:
        """A stream to a model, in the current call; measured, and logged at its end.

        Raises:
            OverLimitError: the model has as many streams as it may.
        """
        call = calls.current()
        protocol = call.protocol if call else ""
        name, version = model.name, model.version or ""
        try:
            async with self._limits.model(name):
                measured = self._metrics.stream(name, version, protocol)
                stream = Stream(measured)
                reason = "error"
                try:
                    yield stream
                    reason = "completed"
                except (asyncio.CancelledError, GeneratorExit):
                    reason = _why_cancelled(call)
                    raise
                finally:
                    measured.requests = requests.count
                    seconds = measured.ended(reason)
                    trace.get_current_span().add_event("end", {"reason": reason})
                    stream_log.log_end(
                        id=requests.last_id or "",
                        model=name,
                        version=version,
                        protocol=protocol,
                        key=(call.key if call else None) or "",
                        requests=requests.count,
                        responses=stream.responses,
                        seconds=round(seconds, 6),
                        reason=reason,
                    )
        except OverLimitError:
            self._metrics.terminated(name, version, protocol, "rejected")
            raise


def _why_cancelled(call: Call | None) -> str:
    if call is not None:
        if call.stopped is not None:
            return REASONS.get(type(call.stopped), "error")
        if call.seconds is not None and time.monotonic() - call.opened >= call.seconds:
            return "deadline"
    return "client_disconnect"
