"""Nobody gets past here without a key: the door of both gRPC ports."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any

import grpc
from grpc_health.v1 import health

from ..access.authenticator import REFUSED, Authenticator
from ..access.callers import INFER, NOBODY, require, set_current
from ..errors import MLServerError
from .errors import abort
from .refusals import Refusals

# Probes of container platforms have no keys; Triton's clients ask these first.
OPEN_METHODS = frozenset(
    {
        *(f"/{health.SERVICE_NAME}/{method}" for method in ("Check", "Watch", "List")),
        "/inference.GRPCInferenceService/ServerLive",
        "/inference.GRPCInferenceService/ServerReady",
    }
)

if TYPE_CHECKING:  # the generic exists in grpc's stubs only
    Handler = grpc.RpcMethodHandler[Any, Any]


class AuthInterceptor(grpc.aio.ServerInterceptor):
    """Sets the caller of each call, or refuses it before its messages are read.

    A call's interceptors and its handler run in one task: what is set here holds there, and the
    handler stays the one that it was.
    """

    def __init__(self, authenticator: Authenticator):
        self._authenticator = authenticator
        self._refusals = Refusals()

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        if handler_call_details.method in OPEN_METHODS:
            set_current(NOBODY)
            return await continuation(handler_call_details)
        try:
            headers = dict(handler_call_details.invocation_metadata or ())
            set_current(await self._authenticator.identify(headers))
            require(INFER)
        except MLServerError as error:
            REFUSED.labels(protocol="grpc", status=error.status_code).inc()
            handler = await continuation(handler_call_details)
            if handler is None:
                # No such method: a handler here would give the metrics a label of the caller's.
                return None
            return self._refusal(error, handler.request_streaming)
        return await continuation(handler_call_details)

    def _refusal(self, error: MLServerError, streamed: bool) -> Handler:
        async def refuse(messages: AsyncIterator[bytes], context: Any) -> None:
            if streamed:
                await self._refusals.hear_out(messages, context)
            await abort(context, error)

        # A stream's handler for every kind of call, since it need not read: on the wire they are
        # the same.
        return grpc.stream_stream_rpc_method_handler(refuse)
