"""The calls that are on the wire now: what each has done, when to give one up, and the drain.

An edge opens a call for each HTTP request that asks for inference and for each gRPC call, in the
task that serves it. Stopping a call cancels that task; the cancellation comes out of the call as
the error that stopped it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext, suppress
from contextvars import ContextVar
from types import TracebackType
from typing import Any

from mlserver.types import InferenceRequest

from ..access import callers
from ..errors import DeadlineError, DrainingError, IdleError, MLServerError, OverLimitError
from ..settings import StreamingSettings
from ..watch.metrics import StreamMetrics
from .deadlines import less_slack, request_is_late, timeout_seconds
from .limits import Limits
from .sequence_header import SEQUENCE_HEADER, check_sequence, is_returnable, sequence_said
from .turnstile import Turnstile

# The metrics' label for each edge.
REST, GRPC, TRITON = "rest", "grpc", "triton"
WEBSOCKET, NDJSON = "websocket", "ndjson"
# Headers that carry a call's id both ways.
REQUEST_ID = "x-request-id"
MAX_ID_CHARACTERS = 128
# How often calls are looked at: an idle one is ended, and the metrics are up to date, within that.
WATCH_SECONDS = 0.25

NO_SLOT: AbstractAsyncContextManager[None] = nullcontext()
CURRENT: ContextVar[Call | None] = ContextVar("call", default=None)


class Call:
    """One call on the wire.

    Attributes:
        protocol: rest, grpc, triton, websocket or ndjson.
        key: the name of the caller's key, where there are keys.
        request_id: the caller's `x-request-id`.
        sequence: the caller's `x-sequence-id`.
        slot: what it holds of the limits.
        stopped: the error that ended it from outside.
        failed: whether one of its requests was what ended it.
        models: the models that it has streams to, or waits for.
        on_drain: called when the service takes no new calls any more.
        queue_ns: how long it has waited for slots, as far as no statistics have it yet.
    """

    __slots__ = (
        "_due",
        "_task",
        "_timer",
        "failed",
        "key",
        "last",
        "models",
        "on_drain",
        "opened",
        "protocol",
        "queue_ns",
        "request_id",
        "sequence",
        "slot",
        "stopped",
    )

    def __init__(
        self, protocol: str, key: str | None, request_id: str | None, seconds: float | None = None
    ):
        """
        Args:
            seconds: until the caller gives the call up by itself (a gRPC deadline).
        """
        self.protocol = protocol
        self.key = key
        self.request_id = request_id
        self.sequence: str | None = None
        self.slot: AbstractAsyncContextManager[None] = NO_SLOT
        self.stopped: MLServerError | None = None
        self.failed = False
        self.models: dict[str, int] = {}
        self.on_drain: Callable[[], None] | None = None
        self.queue_ns = 0
        self.opened = self.last = time.monotonic()
        self._due: float | None = None
        if seconds is not None:
            self._due = self.opened + less_slack(seconds)
        self._timer: asyncio.TimerHandle | None = None
        self._task = asyncio.current_task()

    def touch(self) -> None:
        """Something went over the wire, either way."""
        self.last = time.monotonic()

    def take(self, payload: InferenceRequest, came: float | None = None) -> None:
        """Give a request the call's id where it has none, and the call the request's `timeout`.

        Args:
            came: the loop's time when the request was here; None is now.

        Raises:
            BadRequestError: `timeout` is not a number of microseconds, or the request is of
                another sequence than the call.
        """
        self.check(payload)
        if not payload.id and self.request_id:
            payload.id = self.request_id
        self.set_timeout(payload, came)

    def set_timeout(self, payload: InferenceRequest, came: float | None = None) -> None:
        """Give the call a request's `timeout`, as `take` does."""
        seconds = timeout_seconds(payload)
        if seconds is not None:
            loop = asyncio.get_running_loop()
            since = loop.time() if came is None else came
            self._timer = loop.call_at(since + seconds, self.stop, DeadlineError(seconds))

    def check(self, payload: InferenceRequest) -> None:
        """
        Raises:
            BadRequestError: the request is of another sequence than the call.
        """
        if self.sequence is not None:
            check_sequence(payload, self.sequence)

    @property
    def returned(self) -> dict[str, str]:
        """The headers that give its own ids back to the caller."""
        found = {REQUEST_ID: self.request_id} if self.request_id else {}
        if self.sequence is not None and is_returnable(self.sequence):
            found[SEQUENCE_HEADER] = self.sequence
        return found

    def hand_over(self) -> AbstractAsyncContextManager[None]:
        """Its slot, for another call to open with; this one goes on without."""
        slot, self.slot = self.slot, NO_SLOT
        return Taken(slot)

    def is_late(self) -> bool:
        """Whether the caller's own deadline has passed, for the call or for the task's request."""
        return request_is_late() or (self._due is not None and time.monotonic() >= self._due)

    def is_ending(self) -> bool:
        """Whether it is cut short: stopped, late, or left by its client."""
        return bool(self._task and self._task.cancelling()) or self.is_late()

    def stop(self, error: MLServerError) -> None:
        """End the call: its task is cancelled, and `error` is what comes of it."""
        if self.stopped is None and self._task is not None:
            self.stopped = error
            self._task.cancel()

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()


class Taken:
    """A slot that is held already, to be given back by who has it now."""

    __slots__ = ("_slot",)

    def __init__(self, slot: AbstractAsyncContextManager[None]):
        self._slot = slot

    async def __aenter__(self) -> None:
        pass

    async def __aexit__(self, *failure: Any) -> None:
        await self._slot.__aexit__(*failure)


class Calls:
    """All calls on the wire, bounded; ends those that are idle or late, and drains them.

    Attributes:
        stopping: whether they should go elsewhere.
        draining: whether new ones are refused.
    """

    def __init__(self, settings: StreamingSettings, metrics: StreamMetrics):
        self.stopping = self.draining = False
        self._drained_again = asyncio.Event()
        self.turnstile = Turnstile()
        self._settings = settings.limits
        self._limits = Limits(settings.limits, _waited)
        metrics.expect_refusals(REST, GRPC, TRITON, WEBSOCKET, NDJSON)
        limits = self._limits
        metrics.watch_limits(settings.limits, lambda: limits.used, lambda: limits.waiting)
        self._metrics = metrics
        self._open: set[Call] = set()
        self._none_open = asyncio.Event()
        self._watcher: asyncio.Task[None] | None = None

    def open(
        self,
        protocol: str,
        headers: Mapping[str, Any],
        seconds: float | None = None,
        slot: AbstractAsyncContextManager[None] | None = None,
    ) -> AbstractAsyncContextManager[Call]:
        """Open a call in this task; it is the current one until it is closed.

        Args:
            headers: the call's; their names are in lower case.
            seconds: until the caller gives the call up by itself (a gRPC deadline).
            slot: what it is to hold: NO_SLOT, or one that another call had, which it goes on for,
                however the service stops; None for a slot of its own.

        Raises:
            DrainingError: the service is about to stop.
            OverLimitError: there are too many calls.
            MLServerError: whatever the call was stopped with.
        """
        return _Opened(self, protocol, headers, seconds, slot)

    def slot_at_once(self) -> AbstractAsyncContextManager[None]:
        """A slot for the caller's next call, which does not wait for one.

        Raises:
            OverLimitError: none is free.
        """
        return self._limits.call(callers.current().identity, may_wait=False)

    def model(self, name: str) -> AbstractAsyncContextManager[None]:
        """A slot for one stream of the current call to a model.

        Raises:
            OverLimitError: the model has as many streams as it may.
        """
        return self._model(name) if self._limits.has_models else nullcontext()

    @asynccontextmanager
    async def _model(self, name: str) -> AsyncIterator[None]:
        call = current()
        held: dict[str, int] = call.models if call else {}
        # Two calls that each hold a model and wait for the other's would wait for ever.
        may_wait = not held.keys() - {name}
        held[name] = held.get(name, 0) + 1
        try:
            async with self._limits.model(name, may_wait):
                yield
        finally:
            held[name] -= 1
            if not held[name]:
                del held[name]

    async def drain(
        self,
        seconds: float,
        notice_seconds: float = 0,
        hand_over: Callable[[], None] | None = None,
    ) -> None:
        """Refuse new calls, let running ones go on for so long, then end them; wait for all.

        A second drain, begun while the first waits, ends them at once.

        Args:
            notice_seconds: before that, and meanwhile new calls are taken.
            hand_over: called then, to end what can go on elsewhere.
        """
        if self.stopping:
            seconds = 0
            self._drained_again.set()
        self.stopping = True
        if notice_seconds:
            with suppress(TimeoutError):
                async with asyncio.timeout(notice_seconds):
                    await self._drained_again.wait()
        self.draining = True
        if hand_over is not None:
            hand_over()
        if not self._open:
            return
        for call in list(self._open):
            if call.on_drain is not None:
                call.on_drain()
        try:
            async with asyncio.timeout(seconds):
                await self._none_open.wait()
        except TimeoutError:
            for call in list(self._open):
                call.stop(DrainingError())
            await self._none_open.wait()

    def begin(self, call: Call) -> AbstractAsyncContextManager[None]:
        """A call is there; the slot that it is to have where it brings none."""
        self.turnstile.arrived()
        self._open.add(call)
        if self._watcher is None:
            self._watcher = asyncio.create_task(self._watch())
        return self._limits.call(callers.current().identity)

    def end(self, call: Call) -> None:
        """It is gone."""
        call.close()
        self._open.discard(call)
        if self.draining and not self._open:
            self._none_open.set()

    def refused(self, protocol: str, reason: str) -> None:
        """Count a call that got no further."""
        self._metrics.terminated("", "", protocol, reason)

    async def _watch(self) -> None:
        """End the calls that are idle or last too long. Ends itself when no call is open."""
        idle_seconds, seconds = self._settings.stream_idle_seconds, self._settings.stream_seconds
        try:
            while self._open:
                await asyncio.sleep(WATCH_SECONDS)
                self._metrics.hand_over()
                now = time.monotonic()
                for call in list(self._open):
                    if now - call.last > idle_seconds:
                        call.stop(IdleError(idle_seconds))
                    elif seconds is not None and now - call.opened > seconds:
                        call.stop(DeadlineError(seconds))
        finally:
            self._watcher = None


class _Opened:
    """A call while it is open. A class, as in limits.py."""

    __slots__ = ("_call", "_calls", "_headers", "_protocol", "_seconds", "_slot", "_token")

    def __init__(
        self,
        calls: Calls,
        protocol: str,
        headers: Mapping[str, Any],
        seconds: float | None,
        slot: AbstractAsyncContextManager[None] | None,
    ):
        self._calls = calls
        self._protocol = protocol
        self._headers = headers
        self._seconds = seconds
        self._slot = slot

    async def __aenter__(self) -> Call:
        calls, protocol, given = self._calls, self._protocol, self._slot
        if calls.draining and (given is None or given is NO_SLOT):
            calls.refused(protocol, "drain")
            raise DrainingError()
        request_id = fit_id(self._headers.get(REQUEST_ID))
        self._call = call = Call(protocol, callers.key_name(), request_id, self._seconds)
        call.sequence = sequence_said(self._headers)
        self._token = CURRENT.set(call)
        slot = calls.begin(call)
        call.slot = slot if given is None else given
        try:
            await call.slot.__aenter__()
        except OverLimitError:
            calls.refused(protocol, "rejected")
            self._close()
            raise
        except BaseException as error:
            self._close()
            self._raise_what_stopped_it(error)
            raise
        return call

    async def __aexit__(
        self, kind: object, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._call.slot.__aexit__(None, None, None)
        self._close()
        self._raise_what_stopped_it(error)

    def _close(self) -> None:
        self._calls.end(self._call)
        CURRENT.reset(self._token)

    def _raise_what_stopped_it(self, error: BaseException | None) -> None:
        if not isinstance(error, asyncio.CancelledError) or self._call.stopped is None:
            return
        task = asyncio.current_task()
        if task is None or not task.uncancel():
            raise self._call.stopped from None


def _waited(ns: int) -> None:
    if call := current():
        call.queue_ns += ns


def fit_id(found: Any) -> str | None:
    """A request id that may stand in a header, in metadata and in a line of the log."""
    text = found if isinstance(found, str) else ""
    fits = 0 < len(text) <= MAX_ID_CHARACTERS and text.isascii() and text.isprintable()
    return text if fits else None


def returned_id(headers: Mapping[str, Any]) -> dict[str, str]:
    """The header that gives a call's id back to its caller; none where it has none that fits.

    Args:
        headers: the call's; their names are in lower case.
    """
    request_id = fit_id(headers.get(REQUEST_ID))
    return {REQUEST_ID: request_id} if request_id else {}


def current() -> Call | None:
    """The call that this task serves."""
    return CURRENT.get()
