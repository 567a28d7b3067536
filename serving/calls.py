"""The calls that are on the wire now: what each has done, when to give one up, and the drain.

An edge opens a call for each HTTP request that asks for inference and for each gRPC call, in the
task that serves it. Stopping a call cancels that task; the cancellation comes out of the call as
the error that stopped it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any

from mlserver.types import InferenceRequest

from . import callers
from .errors import (
    BadRequestError,
    DeadlineError,
    DrainingError,
    IdleError,
    MLServerError,
    OverLimitError,
)
from .limits import Limits
from .metrics import StreamMetrics
from .settings import StreamingSettings

# The metrics' label for each edge.
REST, GRPC, TRITON = "rest", "grpc", "triton"
# Headers that carry a call's id both ways.
REQUEST_ID = "x-request-id"
MAX_ID_CHARACTERS = 128
MAX_TIMEOUT_DIGITS = 18
# How often calls are looked at; an idle or a late one is ended within that.
WATCH_SECONDS = 0.25

CURRENT: ContextVar[Call | None] = ContextVar("call", default=None)


class Call:
    """One call on the wire.

    Attributes:
        protocol: rest, grpc or triton.
        key: the name of the caller's key, where there are keys.
        request_id: the caller's `x-request-id`.
        stopped: the error that ended it from outside.
    """

    __slots__ = ("_task", "key", "last", "opened", "protocol", "request_id", "seconds", "stopped")

    def __init__(self, protocol: str, key: str | None, request_id: str | None):
        self.protocol = protocol
        self.key = key
        self.request_id = request_id
        self.stopped: MLServerError | None = None
        self.opened = self.last = time.monotonic()
        # The caller's own deadline for the whole call, in seconds from its opening.
        self.seconds: float | None = None
        self._task = asyncio.current_task()

    def touch(self) -> None:
        """Something went over the wire, either way."""
        self.last = time.monotonic()

    def take(self, payload: InferenceRequest) -> None:
        """Give a request the call's id where it has none, and the call the request's `timeout`.

        Raises:
            BadRequestError: `timeout` is not a number of microseconds.
        """
        if not payload.id and self.request_id:
            payload.id = self.request_id
        seconds = timeout_seconds(payload)
        if seconds is not None:
            self.seconds = time.monotonic() - self.opened + seconds

    def stop(self, error: MLServerError) -> None:
        """End the call: its task is cancelled, and `error` is what comes of it."""
        if self.stopped is None and self._task is not None:
            self.stopped = error
            self._task.cancel()


class Calls:
    """All calls on the wire, bounded; ends those that are idle or late, and drains them."""

    def __init__(self, settings: StreamingSettings, metrics: StreamMetrics):
        self.limits = Limits(settings.limits)
        self.draining = False
        self._settings = settings
        self._metrics = metrics
        self._open: set[Call] = set()
        self._none_open = asyncio.Event()
        self._none_open.set()
        self._watcher: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def open(self, protocol: str, headers: Mapping[str, Any]) -> AsyncIterator[Call]:
        """Open a call in this task; it is the current one until it is closed.

        Raises:
            DrainingError: the service is about to stop.
            OverLimitError: there are too many calls.
            MLServerError: whatever the call was stopped with.
        """
        if self.draining:
            self._metrics.terminated("", "", protocol, "drain")
            raise DrainingError()
        key = callers.key_name()
        call = Call(protocol, key, _fit_id(headers.get(REQUEST_ID)))
        token = CURRENT.set(call)
        self._add(call)
        try:
            async with self.limits.call(key):
                yield call
        except OverLimitError:
            self._metrics.terminated("", "", protocol, "rejected")
            raise
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if call.stopped is None or (task is not None and task.uncancel()):
                raise
            raise call.stopped from None
        finally:
            self._remove(call)
            CURRENT.reset(token)

    async def drain(self, seconds: float) -> None:
        """Refuse new calls, let running ones go on for so long, then end them; wait for all.

        A second drain, begun while the first waits, ends them at once.
        """
        if self.draining:
            seconds = 0
        self.draining = True
        try:
            async with asyncio.timeout(seconds):
                await self._none_open.wait()
        except TimeoutError:
            for call in list(self._open):
                call.stop(DrainingError())
            await self._none_open.wait()

    def _add(self, call: Call) -> None:
        self._open.add(call)
        self._none_open.clear()
        if self._watcher is None:
            self._watcher = asyncio.create_task(self._watch())

    def _remove(self, call: Call) -> None:
        self._open.discard(call)
        if not self._open:
            self._none_open.set()

    async def _watch(self) -> None:
        """End the calls that are idle or late. Ends itself when no call is open."""
        limits = self._settings.limits
        while self._open:
            await asyncio.sleep(WATCH_SECONDS)
            now = time.monotonic()
            for call in list(self._open):
                if now - call.last > limits.stream_idle_seconds:
                    call.stop(IdleError(limits.stream_idle_seconds))
                elif limits.stream_seconds and now - call.opened > limits.stream_seconds:
                    call.stop(DeadlineError(limits.stream_seconds))
                elif call.seconds is not None and now - call.opened > call.seconds:
                    call.stop(DeadlineError(call.seconds))
        self._watcher = None


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


def _fit_id(found: Any) -> str | None:
    """A request id that may stand in a header and in a line of the log."""
    text = str(found or "")
    return text if 0 < len(text) <= MAX_ID_CHARACTERS and text.isprintable() else None


def current() -> Call | None:
    """The call that this task serves."""
    return CURRENT.get()
