"""MLServer's metrics and OpenTelemetry's tracing for streams that are coroutines.

Both take a stream's handler for an async generator. Ours is a coroutine that writes, so that
several models can answer on one stream; generators (reflection's, say) go the parents' way.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from time import perf_counter
from typing import Any

import grpc
from mlserver.grpc.interceptors import PromServerInterceptor
from opentelemetry.instrumentation.grpc._aio_server import OpenTelemetryAioServerInterceptor
from py_grpc_prometheus.grpc_utils import split_method_call

from ..watch.adding import Observed, value_of

STREAM_STREAM, UNARY = "BIDI_STREAMING", "UNARY"


class StreamTracing(OpenTelemetryAioServerInterceptor):
    """One span a call, streams included."""

    def _intercept_aio_server_stream(self, behavior: Any, handler_call_details: Any) -> Any:
        if inspect.iscoroutinefunction(behavior):
            return self._intercept_aio_server_unary(behavior, handler_call_details)
        parent: Any = super()
        return parent._intercept_aio_server_stream(behavior, handler_call_details)


class StreamMetrics(PromServerInterceptor):
    """The grpc_server_* metrics: calls started, handled, their seconds, messages each way.

    Collectors are looked up, and handlers wrapped, once a method; the parent does it for each call.
    """

    def __init__(self, **options: Any):
        super().__init__(**options)  # type: ignore[no-untyped-call]
        # Services give the same handler for every call of a method.
        self._known: dict[str, tuple[Any, Any]] = {}

    async def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        method = handler_call_details.method
        known = self._known.get(method)
        if known is None or known[0] is not handler:
            wrapper = partial(self._metrics_wrapper, split_method_call(handler_call_details))
            wrapped = self._interceptor._wrap_rpc_behavior(handler, wrapper)
            known = self._known[method] = handler, wrapped
        return known[1]

    def _metrics_wrapper(
        self,
        method_call: tuple[str, str, str],
        behavior: Any,
        request_streaming: bool,
        response_streaming: bool,
    ) -> Any:
        streams = request_streaming and response_streaming
        if request_streaming != response_streaming or not inspect.iscoroutinefunction(behavior):
            return super()._metrics_wrapper(
                method_call, behavior, request_streaming, response_streaming
            )
        service, method, _ = method_call
        kind = STREAM_STREAM if streams else UNARY
        metrics = self._interceptor._metrics
        labels = {"grpc_type": kind, "grpc_service": service, "grpc_method": method}
        started = value_of(metrics["grpc_server_started_counter"].labels(**labels))
        seconds = Observed(metrics["grpc_server_handled_histogram"].labels(**labels))
        ended = self._interceptor._grpc_server_handled_total_counter
        handled: dict[grpc.StatusCode, Any] = {}
        received = sent = None
        if streams:
            received, sent = (
                partial(value_of(metrics[f"grpc_server_stream_msg_{way}"].labels(**labels)).inc, 1)
                for way in ("received", "sent")
            )

        async def counted(asked: Any, context: Any) -> Any:
            started.inc(1)
            begun = perf_counter()
            code = grpc.StatusCode.CANCELLED
            try:
                if received is not None and sent is not None:
                    writing = _WritingTogether if hasattr(context, "write_all") else _Writing
                    await behavior(_Counted(asked, received), writing(context, sent))
                    reply = None
                else:
                    reply = await behavior(asked, context)
                code = self._compute_status_code(context)
                return reply
            except Exception:
                code = self._compute_status_code(context)
                raise
            finally:
                if code not in handled:
                    handled[code] = value_of(ended.labels(**labels, grpc_code=code.name))
                handled[code].inc(1)
                seconds.observe(perf_counter() - begun)

        return counted


class _Counted:
    """An async iterator that counts what it gives."""

    def __init__(self, items: AsyncIterator[Any], count: Callable[[], None]):
        self._items = items
        self._count = count

    def __aiter__(self) -> _Counted:
        return self

    async def __anext__(self) -> Any:
        item = await anext(self._items)
        self._count()
        return item


class _Writing:
    """A call's context that counts what is written; all else is the context's own."""

    __slots__ = ("_context", "_count")

    def __init__(self, context: Any, count: Callable[[], None]):
        self._context = context
        self._count = count

    def write(self, message: Any) -> Awaitable[None]:
        # Not a coroutine of its own: this is on the path of every message.
        self._count()
        written: Awaitable[None] = self._context.write(message)
        return written

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)


class _WritingTogether(_Writing):
    """The same where several messages can be written at once (http2/).

    A class, not attributes of an object: one that holds its own methods is kept, and its whole
    call with it, until the collector of cycles finds them.
    """

    __slots__ = ()

    def write_all(self, messages: list[Any]) -> Awaitable[None]:
        for _ in messages:
            self._count()
        written: Awaitable[None] = self._context.write_all(messages)
        return written

    def write_at_once(self, messages: list[Any], size: int) -> bool:
        if not self._context.write_at_once(messages, size):
            return False
        for _ in messages:
            self._count()
        return True
