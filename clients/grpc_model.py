"""One model of a server over gRPC: a channel, and streams whose two directions go side by side."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

import grpc
from mlserver.grpc.dataplane_pb2 import ModelInferRequest, ModelInferResponse
from mlserver.grpc.dataplane_pb2_grpc import GRPCInferenceServiceStub

from .errors import NoResponseError
from .grpc_channel import call_error, open_channel
from .retries import Retries
from .server import Server
from .stream_call import StreamCall
from .stream_place import RESUME_METADATA


class GrpcModel:
    """A channel to one model, open within `async with`; any number of calls at a time.

    `timeout` is in seconds, for each response once all requests are sent: until then nobody can
    tell whether the server or the next request is late.
    """

    def __init__(self, server: Server, model: str, timeout: float) -> None:
        self._server, self._model, self._timeout = server, model, timeout

    async def __aenter__(self) -> Self:
        """Raises TlsError when a file of the server's `tls` is no good."""
        self._channel = open_channel(self._server)
        self._stub: Any = GRPCInferenceServiceStub(self._channel)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._channel.close()

    async def ask(self, request: ModelInferRequest) -> ModelInferResponse:
        """One request, one response; asked again where the server went away.

        Raises what `exchange` raises.
        """
        retries = Retries()
        while True:
            try:
                response: ModelInferResponse = await self._stub.ModelInfer(
                    request, timeout=self._timeout, metadata=self._server.metadata()
                )
            except grpc.aio.AioRpcError as error:
                if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                    raise NoResponseError(self._server.address, self._timeout) from error
                await retries.after(call_error(error, self._server))
            else:
                return response

    async def exchange(
        self,
        send: Callable[[StreamCall], Awaitable[None]],
        *,
        sequence_id: int | str | None = None,
        careful: bool = False,
        resume: str | None = None,
    ) -> AsyncGenerator[ModelInferResponse, None]:
        """One stream: its responses, read while `send` writes requests to the call that it gets,
        a StreamCall, which says what `careful` is. `sequence_id` is that of all requests, if any.
        `resume` is the last response's id of a stream to go on with: then `send` writes nothing.

        Raises UnreachableError, TlsError, NoResponseError, RefusedError (a gRPC error; `status` is
        its name) or StreamCutError, and whatever `send` raises.
        """
        metadata = self._server.metadata(sequence_id)
        if resume is not None:
            metadata = (*metadata, (RESUME_METADATA, resume))
        call = StreamCall(lambda: self._stub.ModelStreamInfer(metadata=metadata), careful=careful)
        sending = asyncio.create_task(_send_all(call, send))
        messages = aiter(call)
        try:
            while (message := await self._next(messages, sending)) is not None:
                yield message
            await sending
        except (grpc.aio.AioRpcError, asyncio.CancelledError) as error:
            # A failure to send cancels the call; its own reason is the better one to tell.
            if sending.done() and not sending.cancelled() and (cause := sending.exception()):
                raise cause from None
            if isinstance(error, asyncio.CancelledError):
                raise
            raise call_error(error, self._server) from error
        finally:
            sending.cancel()
            call.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await sending

    async def _next(
        self, messages: AsyncIterator[ModelInferResponse], sending: asyncio.Task[None]
    ) -> ModelInferResponse | None:
        try:
            if sending.done():
                async with asyncio.timeout(self._timeout):
                    return await anext(messages, None)
            message = asyncio.ensure_future(anext(messages, None))
            try:
                await asyncio.wait({message, sending}, return_when=asyncio.FIRST_COMPLETED)
                return await asyncio.wait_for(message, self._timeout)
            finally:
                message.cancel()
        except TimeoutError as error:
            raise NoResponseError(self._server.address, self._timeout) from error


async def _send_all(call: StreamCall, send: Callable[[StreamCall], Awaitable[None]]) -> None:
    try:
        await send(call)
        await call.done_writing()
    except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
        # The call is over; its reader gets the reason.
        return
    except BaseException:
        call.cancel()
        raise
