"""One ModelStreamInfer call: requests leave in order, each response goes to the one it answers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.shared_memory import SharedMemory
from typing import Any

import grpc
from mlserver.grpc.dataplane_pb2 import ModelInferRequest, ModelInferResponse
from mlserver.grpc.dataplane_pb2_grpc import GRPCInferenceServiceStub

from .errors import ClientError, ProtocolError, StreamCutError
from .grpc_channel import call_error
from .grpc_messages import Parameter, bytes_request
from .server import Server
from .shared_memory import SMALL_BYTES, Regions
from .stream_call import StreamCall


@dataclass(frozen=True)
class Sent:
    """A request on the wire. `response` gets the message and the time it was read at; `region` is
    where its tensor lies, if that is shared."""

    response: asyncio.Future[tuple[ModelInferResponse, float]]
    at: float
    region: SharedMemory | None = None


class InferCall:
    """Opens the call at once; `hang_up` must follow.

    `ended` is why the call is over: every waiting and every later request raises it. None while it
    goes on.
    """

    def __init__(
        self,
        channel: grpc.aio.Channel,
        server: Server,
        *,
        id_prefix: str = "",
        shared_memory: bool = False,
        sequence_id: int | str | None = None,
    ) -> None:
        """
        Args:
            server: the channel's other end.
            id_prefix: what each request's id begins with, before its number.
            shared_memory: whether tensors go by way of shared memory.
            sequence_id: that of all its requests, if they have one.
        """
        stub: Any = GRPCInferenceServiceStub(channel)
        metadata = server.metadata(sequence_id)
        self._call = StreamCall(lambda: stub.ModelStreamInfer(metadata=metadata))
        self._id_prefix = id_prefix
        self._server = server
        self._regions = Regions(channel, server) if shared_memory else None
        self._sent: dict[str, Sent] = {}
        self._count = 0
        self._writing = asyncio.Lock()
        self._answered = asyncio.Event()
        self.ended: ClientError | None = None
        self._reader = asyncio.create_task(self._read())

    @property
    def in_flight(self) -> int:
        """Requests that have no response yet, also those that nobody waits for any more."""
        return len(self._sent)

    async def write(
        self, data: bytes, *, model: str, tensor: str, parameters: Mapping[str, Parameter]
    ) -> Sent:
        """Send a request with one BYTES [1] tensor. Cancelling this ends the call."""
        return await self.send(
            bytes_request(data, model=model, request_id="", tensor=tensor, parameters=parameters)
        )

    async def send(self, request: ModelInferRequest) -> Sent:
        """Give a request its id and send it. Cancelling this ends the call."""
        # gRPC takes one write at a time, and the lock is fair: requests keep their order.
        async with self._writing:
            if self._count == 1:
                # An unknown model, say, ends the call, and grpc.aio loses the server's reason when
                # that happens during a write. So one request goes ahead and finds out.
                await self._answered.wait()
            if self.ended is not None:
                raise self.ended
            region: SharedMemory | None = None
            if self._regions is not None and request.ByteSize() >= SMALL_BYTES:
                request, region = await self._regions.moved(request)
            request.id = f"{self._id_prefix}{self._count}"
            self._count += 1
            response = asyncio.get_running_loop().create_future()
            sent = self._sent[request.id] = Sent(response, time.perf_counter(), region)
            # When the call is over, the reader knows why and tells the future.
            with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
                await self._call.write(request)
        return sent

    async def finish(self) -> None:
        """Tell that no more requests come, and let the server answer the last ones and end."""
        if self.ended is None:
            with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
                await self._call.done_writing()
                await asyncio.shield(self._reader)

    def cancel(self) -> None:
        """End the call now: every waiting request raises StreamCutError."""
        self._call.cancel()

    async def hang_up(self) -> None:
        self._call.cancel()
        # Unlike a bare await, wait() does not hand this task's own cancelling on to the reader.
        await asyncio.wait([self._reader])
        if self._regions is not None:
            await self._regions.close()

    async def _read(self) -> None:
        """Hand every response to the request that waits for it, until the call is over."""
        try:
            async for message in self._call:
                self._answered.set()
                sent = self._sent.pop(message.id, None)
                if sent is None:
                    raise ProtocolError(f"no request waits for the response with id '{message.id}'")
                if sent.region is not None and self._regions is not None:
                    self._regions.give_back(sent.region)
                # It may have been given up in the meantime.
                if not sent.response.done():
                    sent.response.set_result((message, time.perf_counter()))
            self.ended = StreamCutError(f"the server at {self._server.address} ended the stream")
        except (Exception, asyncio.CancelledError) as error:
            self.ended = call_error(error, self._server)
            self._call.cancel()
        self._answered.set()
        for sent in self._sent.values():
            if not sent.response.done():
                sent.response.set_exception(self.ended)
                # Whoever sent it may have gone: no "never retrieved" then.
                sent.response.exception()
