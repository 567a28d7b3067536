"""One stream to one model: its slot, its figures, its span's events, its line in the log."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Protocol

from mlserver import MLModel
from mlserver.types import InferenceResponse
from opentelemetry import trace

from ..errors import (
    DeadlineError,
    DrainingError,
    IdleError,
    MLServerError,
    OverLimitError,
    failure_of,
)
from ..watch import stream_log
from ..watch.metrics import MeasuredStream, StreamMetrics
from . import calls
from .calls import Call, Calls

REASONS: dict[type[MLServerError], str] = {
    IdleError: "idle",
    DeadlineError: "deadline",
    DrainingError: "drain",
    OverLimitError: "rejected",
}


class HasRequests(Protocol):
    """What a stream reads: how many requests it was, how many failed, and the id of the last."""

    count: int
    failed: int
    last_id: str | None


class Stream:
    """A stream at work."""

    __slots__ = ("_measured", "_requests", "_span")

    def __init__(self, measured: MeasuredStream, requests: HasRequests, span: trace.Span):
        self._measured = measured
        self._requests = requests
        self._span = span

    def responded(self, response: InferenceResponse) -> bool:
        """A response is about to leave; whether it is the first."""
        first = self._measured.responded()
        if first:
            self._span.add_event("first response")
        if not response.outputs and failure_of(response):
            self._measured.failed()
            self._requests.failed += 1
        return first


class Streams:
    """Opens streams."""

    def __init__(self, calls: Calls, metrics: StreamMetrics):
        self._calls = calls
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
        async with AsyncExitStack() as slot:
            try:
                await slot.enter_async_context(self._calls.model(name))
            except OverLimitError:
                self._metrics.terminated(name, version, protocol, "rejected")
                raise
            span = trace.get_current_span()
            measured = self._metrics.stream(name, version, protocol, requests)
            reason = "error"
            try:
                yield Stream(measured, requests, span)
                reason = "completed"
            except asyncio.CancelledError:
                reason = _why_cancelled(call)
                raise
            except GeneratorExit:
                # Closed half-way: by a task that is being cancelled, or by one that failed. It may
                # be a helper's task that does it, while the call's is cancelled.
                task = asyncio.current_task()
                if (task and task.cancelling()) or (call and call.is_ending()):
                    reason = _why_cancelled(call)
                raise
            finally:
                seconds = measured.ended(reason)
                span.add_event(
                    "end", {"model": name, "reason": reason, "responses": measured.responses}
                )
                if reason == "error":
                    span.set_status(trace.StatusCode.ERROR)
                stream_log.log_end(
                    id=(call and call.request_id) or requests.last_id or "",
                    model=name,
                    version=version,
                    protocol=protocol,
                    key=(call and call.key) or "",
                    requests=requests.count,
                    responses=measured.responses,
                    seconds=round(seconds, 6),
                    reason=reason,
                )


def _why_cancelled(call: Call | None) -> str:
    if call is None:
        return "client_disconnect"
    if call.stopped is not None:
        return REASONS.get(type(call.stopped), "error")
    if call.is_late():
        return "deadline"
    return "error" if call.failed else "client_disconnect"
