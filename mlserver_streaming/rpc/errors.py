"""Errors in gRPC's words."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn, TypeVar, cast

import grpc
from mlserver.logging import logger

from ..errors import InternalError, MLServerError
from ..streams.calls import returned_id

Call = TypeVar("Call", bound=Callable[..., Awaitable[Any]])
Code = grpc.StatusCode
STATUS: dict[int, Code] = {
    400: Code.INVALID_ARGUMENT,
    401: Code.UNAUTHENTICATED,
    403: Code.PERMISSION_DENIED,
    404: Code.NOT_FOUND,
    408: Code.DEADLINE_EXCEEDED,
    409: Code.ALREADY_EXISTS,
    410: Code.OUT_OF_RANGE,
    413: Code.RESOURCE_EXHAUSTED,
    415: Code.INVALID_ARGUMENT,
    422: Code.FAILED_PRECONDITION,  # as MLServer has it
    429: Code.RESOURCE_EXHAUSTED,
    499: Code.CANCELLED,
    500: Code.INTERNAL,
    501: Code.UNIMPLEMENTED,
    503: Code.UNAVAILABLE,
    504: Code.DEADLINE_EXCEEDED,
}
# A status travels in an HTTP/2 header, which peers limit to 8 KiB; percent-encoded there, a byte
# may take three.
MAX_DETAILS_BYTES = 2000
# Between a write that fails since its client has gone and the cancellation that says so.
GONE_SECONDS = 5


def status_of(error: MLServerError) -> Code:
    """The gRPC status for an error's HTTP status."""
    known = STATUS.get(error.status_code)
    if known is not None:
        return known
    return Code.INVALID_ARGUMENT if 400 <= error.status_code < 500 else Code.INTERNAL


async def abort(context: grpc.aio.ServicerContext[Any, Any], error: MLServerError) -> NoReturn:
    """End the call with the error's status and text, and the caller's `x-request-id`."""
    if not context.trailing_metadata():
        metadata: dict[str, Any] = dict(context.invocation_metadata() or ())
        context.set_trailing_metadata(tuple(returned_id(metadata).items()))
    details = str(error).encode(errors="replace")[:MAX_DETAILS_BYTES]
    await context.abort(status_of(error), details.decode(errors="ignore"))


async def write(context: grpc.aio.ServicerContext[Any, Any], message: Any) -> None:
    """Write a message; where the client has gone, wait to be cancelled for it."""
    try:
        await context.write(message)
    except grpc.aio.InternalError:
        # The news that the call is over is on its way. To fail would be logged as our fault.
        await asyncio.sleep(GONE_SECONDS)
        raise


class Together:
    """Writes several messages at once, where the server can (http2/)."""

    def __init__(self, context: Any, touch: Callable[[], None]):
        """
        Args:
            touch: called when something was written.
        """
        self._send, self._send_at_once = context.write_all, context.write_at_once
        self._touch = touch

    @classmethod
    def of(
        cls, context: grpc.aio.ServicerContext[Any, Any], touch: Callable[[], None]
    ) -> Together | None:
        return cls(context, touch) if hasattr(context, "write_all") else None

    async def write(self, messages: list[Any]) -> None:
        """As `write` does; the others get a turn."""
        try:
            await self._send(messages)
        except grpc.aio.InternalError:
            await asyncio.sleep(GONE_SECONDS)  # as in `write`
            raise
        self._touch()

    def write_at_once(self, messages: list[Any], size: int) -> bool:
        """Write so many bytes of messages, if nobody has to wait for it; whether that is done."""
        if not self._send_at_once(messages, size):
            return False
        self._touch()
        return True


def answers_errors(call: Call) -> Call:
    """Decorate a servicer's method: what it raises becomes the call's status."""

    @functools.wraps(call)
    async def answered(servicer: Any, request: Any, context: Any) -> Any:
        try:
            return await call(servicer, request, context)
        except MLServerError as error:
            await abort(context, error)
        except grpc.aio.AbortError:
            raise
        except Exception:
            internal = InternalError(getattr(request, "id", None) or call.__name__)
            logger.exception("%s: %s", call.__name__, internal)
            await abort(context, internal)

    return cast(Call, answered)
