"""How many gRPC calls at once, each kind in a budget of its own; and what all handlers share.

Inference, and what else needs a key, shares one. Calls that stay open and are no inference (a
health Watch, reflection) have another, which is small, bounded for each connection too, and ends
them in time: who opens a thousand of them keeps nobody from inference. Probes are never refused.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf.message import DecodeError

from ..errors import BadRequestError, DeadlineError, MLServerError, OverLimitError
from .auth import OPEN_METHODS
from .errors import abort, write
from .last_calls import LastCalls

STREAM_OF_INFERENCE = "ModelStreamInfer"
# Clients that watch health have one call open for each connection; tools that read descriptions,
# one for a moment.
OPEN_CALLS, OPEN_CALLS_OF_ONE = 256, 16

if TYPE_CHECKING:  # the generic exists in grpc's stubs only
    Handler = grpc.RpcMethodHandler[Any, Any]
    Context = grpc.aio.ServicerContext[Any, Any]


class Budget:
    """So many calls at once."""

    def __init__(self, calls: int, of_one: int | None = None):
        """
        Args:
            of_one: calls of one connection.
        """
        self._calls = calls
        self._of_one = of_one
        self._all = 0
        self._each: Counter[str] = Counter()

    def enter(self, context: Context) -> None:
        """Count a call until its client has its status, or is gone.

        Raises:
            OverLimitError: there are too many.
        """
        peer = "" if self._of_one is None else context.peer()
        if self._all >= self._calls:
            raise OverLimitError("There are too many calls of this kind now; try again later.")
        if self._of_one is not None and self._each[peer] >= self._of_one:
            raise OverLimitError(
                f"This connection has {self._of_one} calls of this kind open, as many as it may; "
                "end one of them."
            )
        self._all += 1
        self._each[peer] += 1
        left: Any = functools.partial(self._leave, peer)
        context.add_done_callback(left)

    def _leave(self, peer: str, context: object) -> None:
        self._all -= 1
        self._each[peer] -= 1
        if not self._each[peer]:
            del self._each[peer]


class Admission(grpc.aio.ServerInterceptor):
    """Counts the calls of one server, and reads their messages. The innermost interceptor: what
    the door refuses does not come here."""

    def __init__(self, calls: int, open_seconds: float):
        """
        Args:
            calls: of inference and the like at once.
            open_seconds: how long a call that is no inference may stay open.
        """
        self._calls = Budget(calls)
        self._open_calls = Budget(OPEN_CALLS, OPEN_CALLS_OF_ONE)
        self._open_seconds = open_seconds
        # Services give the same handler for every call of a method.
        self._known: dict[str, tuple[Handler, Handler]] = {}
        self._last: LastCalls | None = None

    def last_calls(self) -> LastCalls:
        """Calls that come from now on are the last, and held as such."""
        if self._last is None:
            self._last = LastCalls()
        return self._last

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        if self._last is not None:
            await self._last.hold()
        method: Any = handler_call_details.method
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        known = self._known.get(method)
        if known is None or known[0] is not handler:
            known = self._known[method] = handler, self._bounded(method, handler)
        return known[1]

    def _bounded(self, method: str, handler: Handler) -> Handler:
        stays = handler.request_streaming or handler.response_streaming
        if stays and method.rpartition("/")[2] != STREAM_OF_INFERENCE:
            return self._open(handler)
        work: Any = handler.stream_stream or handler.unary_unary
        budget = None if method in OPEN_METHODS else self._calls
        read = _reading(handler)

        @functools.wraps(work)
        async def call(request: Any, context: Context) -> Any:
            try:
                if budget is not None:
                    budget.enter(context)
                asked = request if read is None else read(request)
            except MLServerError as error:
                await abort(context, error)
            return await work(asked, context)

        make: Any = (
            grpc.stream_stream_rpc_method_handler
            if handler.stream_stream
            else grpc.unary_unary_rpc_method_handler
        )
        bounded: Handler = make(call, None, handler.response_serializer)
        return bounded

    def _open(self, handler: Handler) -> Handler:
        read, seconds = _reading(handler), self._open_seconds
        work: Any = handler.stream_stream or handler.unary_stream
        makes = inspect.isasyncgenfunction(work)

        async def call(asked: Any, context: Context) -> None:
            try:
                self._open_calls.enter(context)
                if read is not None:
                    asked = _each(read, asked) if handler.request_streaming else read(asked)
                try:
                    async with asyncio.timeout(seconds):
                        if not makes:
                            await work(asked, context)
                            return
                        async with aclosing(work(asked, context)) as replies:
                            async for reply in replies:
                                await write(context, reply)
                except TimeoutError:
                    raise DeadlineError(seconds) from None
            except MLServerError as error:
                await abort(context, error)

        make: Any = (
            grpc.stream_stream_rpc_method_handler
            if handler.request_streaming
            else grpc.unary_stream_rpc_method_handler
        )
        bounded: Handler = make(call, None, handler.response_serializer)
        return bounded


def _reading(handler: Handler) -> Callable[[bytes], Any] | None:
    """What reads a method's messages. gRPC itself would log one that cannot be read as our fault,
    with a traceback."""
    parse = handler.request_deserializer
    if parse is None:
        return None

    def read(message: bytes) -> Any:
        try:
            return parse(message)
        except DecodeError as error:
            raise BadRequestError("The message is not one of this call's requests.") from error

    return read


async def _each(read: Callable[[bytes], Any], messages: AsyncIterator[bytes]) -> AsyncIterator[Any]:
    async for message in messages:
        yield read(message)
