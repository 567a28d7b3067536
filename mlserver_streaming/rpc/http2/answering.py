"""What answers a call: its handler, and what becomes of what that raises."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from functools import lru_cache
from typing import Any

import grpc
from mlserver.logging import logger

from ...errors import InternalError
from .call import Call
from .messages import WINDOW_BITS

# Asked for each call of the same few handlers.
makes_replies = lru_cache(256)(inspect.isasyncgenfunction)
Find = Callable[[Any], Awaitable[Any]]


class Details(grpc.HandlerCallDetails):
    """What interceptors are told of a call."""

    def __init__(self, method: str, metadata: Any):
        self.method = method
        self.invocation_metadata = metadata


def chained(interceptors: Any, find: Find) -> Find:
    """The way to a handler through all interceptors, made once."""
    for interceptor in reversed(interceptors):
        find = _through(interceptor, find)
    return find


def _through(interceptor: Any, find: Find) -> Find:
    def step(details: Any) -> Awaitable[Any]:
        found: Awaitable[Any] = interceptor.intercept_service(find, details)
        return found

    return step


async def answer(call: Call, find: Find, request_seconds: float) -> None:
    """Run a call to its end.

    Args:
        request_seconds: until its request is whole, where it has but one.
    """
    try:
        await _run(call, find, request_seconds)
    except grpc.aio.AbortError:
        pass
    except asyncio.CancelledError:
        if not call.is_over:
            call.set_code(grpc.StatusCode.CANCELLED)
    except Exception:
        if not call.is_over:
            logger.exception("gRPC: the call of %s failed.", call.method)
            call.set_code(grpc.StatusCode.UNKNOWN)
            call.set_details(str(InternalError(call.method)))
    call.finish()


async def _run(call: Call, find: Find, request_seconds: float) -> None:
    if call.encoding != "identity" and call.encoding not in WINDOW_BITS:
        known = ", ".join(("identity", *WINDOW_BITS))
        await call.abort(
            grpc.StatusCode.UNIMPLEMENTED, f"Messages may be packed as one of: {known}."
        )
    handler = await find(Details(call.method, call.invocation_metadata()))
    if handler is None:
        await call.abort(grpc.StatusCode.UNIMPLEMENTED, "Method not found!")
    call.serializer, call.deserializer = handler.response_serializer, handler.request_deserializer
    work = (
        handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
    )
    asked: Any = call if handler.request_streaming else await _only(call, request_seconds)
    if asked is None:
        await call.abort(grpc.StatusCode.INTERNAL, "The call has no request.")
    if makes_replies(work):
        async for reply in work(asked, call):
            await call.write(reply)
        return
    reply = await work(asked, call)
    if not handler.response_streaming and reply is not None and not call.is_over:
        call.write_now((reply,))


async def _only(call: Call, seconds: float) -> Any:
    """A call's request; None where it ends without."""
    if call.is_asked:
        return await anext(call, None)
    try:
        async with asyncio.timeout(seconds):
            return await anext(call, None)
    except TimeoutError:
        await call.abort(
            grpc.StatusCode.DEADLINE_EXCEEDED, f"The call's request took more than {seconds:g} s."
        )
