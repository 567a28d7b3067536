"""One stream to one model: its slot, its figures, its span's events, its line in the log."""

import asyncio
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Protocol

from mlserver import MLModel
from mlserver.types import InferenceResponse
from opentelemetry import trace

from ..errors import (
    CancelledStreamError,
    DeadlineError,
    DrainingError,
    IdleError,
    MLServerError,
    MovedError,
    OverLimitError,
    UnreadError,
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
    CancelledStreamError: "cancelled",
    MovedError: "drain",
    UnreadError: "client_disconnect",
}


class HasRequests(Protocol):
    """What a stream reads: how many requests it was, how many failed, and the id of the last."""

    count: int
    failed: int
    last_id: str | None


class Stream:
    """A stream at work.

    Attributes:
        measured: its figures, of which `responded` lets each response know.
    """

    __slots__ = ("_requests", "_span", "measured")

    def __init__(self, measured: MeasuredStream, requests: HasRequests, span: trace.Span):
        self.measured = measured
        self._requests = requests
        self._span = span

    def responded(self, response: InferenceResponse) -> bool:
        """A response is about to leave; whether it is the first."""
        first = self.measured.responded()
        if first:
            self._span.add_event("first response")
        if not response.outputs and failure_of(response):
            self.measured.failed()
            self._requests.failed += 1
        return first


class Streams:
    """Opens streams."""

    def __init__(self, calls: Calls, metrics: StreamMetrics):
        self.calls = calls
        self.metrics = metrics

    def open(self, model: MLModel, requests: HasRequests) -> AbstractAsyncContextManager[Stream]:
        """A stream to a model, in the current call; measured, and logged at its end.

        Raises:
            OverLimitError: the model has as many streams as it may.
        """
        return _Opened(self, model, requests)


class _Opened:
    """A stream while it is open. A class, as in limits.py."""

    __slots__ = ("_call", "_measured", "_model", "_requests", "_slot", "_span", "_streams")

    def __init__(self, streams: Streams, model: MLModel, requests: HasRequests):
        self._streams = streams
        self._model = model
        self._requests = requests
        self._call = calls.current()

    async def __aenter__(self) -> Stream:
        streams, model, call = self._streams, self._model, self._call
        protocol = call.protocol if call else ""
        self._slot = streams.calls.model(model.name)
        try:
            await self._slot.__aenter__()
        except OverLimitError:
            streams.metrics.terminated(model.name, model.version or "", protocol, "rejected")
            raise
        self._span = trace.get_current_span()
        self._measured = streams.metrics.stream(model.name, model.version, protocol, self._requests)
        return Stream(self._measured, self._requests, self._span)

    async def __aexit__(
        self, kind: object, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._end(self._reason(error))
        finally:
            await self._slot.__aexit__(None, None, None)

    def _reason(self, error: BaseException | None) -> str:
        if error is None:
            return "completed"
        if isinstance(error, asyncio.CancelledError):
            return _why_cancelled(self._call)
        if isinstance(error, GeneratorExit):
            # Closed half-way: by a task that is being cancelled, or by one that failed. It may be
            # a helper's task that does it, while the call's is cancelled.
            task = asyncio.current_task()
            if (task and task.cancelling()) or (self._call and self._call.is_ending()):
                return _why_cancelled(self._call)
        return "error"

    def _end(self, reason: str) -> None:
        model, call, measured = self._model, self._call, self._measured
        seconds = measured.ended(reason)
        if self._span.is_recording():
            self._span.add_event(
                "end", {"model": model.name, "reason": reason, "responses": measured.responses}
            )
            if reason == "error":
                self._span.set_status(trace.StatusCode.ERROR)
        stream_log.log_end(
            id=(call and call.request_id) or self._requests.last_id or "",
            model=model.name,
            version=model.version or "",
            protocol=call.protocol if call else "",
            key=(call and call.key) or "",
            requests=self._requests.count,
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
