"""gRPC by grpc.aio with nothing encoded or decoded: bytes out, bytes in."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from mlserver.grpc import dataplane_pb2 as pb

from ..contenders.contenders import MAX_MESSAGE_BYTES
from ..inputs.triton_dialect import split_reply
from .load_process import AnswerError, Told, unheard

SERVICE = "/inference.GRPCInferenceService/"
UNARY, STREAM = "ModelInfer", "ModelStreamInfer"
OPTIONS = [
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    # A connection of its own, as clients on machines of their own have.
    ("grpc.use_local_subchannel_pool", 1),
]
CONNECT_SECONDS = 10.0
# A server that hangs must not hang us.
CALL_SECONDS = 120.0


class GrpcWire:
    """One connection, and one stream on it (calls.py).

    Args:
        method: a unary call is a stream of one message each way.
        triton: replies come in Triton's dialect.
    """

    def __init__(
        self,
        address: str,
        method: str = STREAM,
        triton: bool = False,
        credentials: grpc.ChannelCredentials | None = None,
        metadata: Sequence[tuple[str, str]] = (),
        timeout: float | None = None,
    ) -> None:
        self._address, self._triton, self._credentials = address, triton, credentials
        self._method, self._more = method, {"metadata": tuple(metadata), "timeout": timeout}
        self.in_turn = method == UNARY
        self._channel: grpc.aio.Channel | None = None
        self._call: Any = None

    def beside(self) -> GrpcWire:
        """Another stream on the same connection, which is open."""
        found = GrpcWire(self._address, self._method, self._triton)
        found._channel, found._more = self._channel, self._more
        return found

    async def open(self) -> None:
        if self._channel is not None:
            return
        if self._credentials is None:
            channel = grpc.aio.insecure_channel(self._address, options=OPTIONS)
        else:
            channel = grpc.aio.secure_channel(self._address, self._credentials, options=OPTIONS)
        try:
            await asyncio.wait_for(channel.channel_ready(), CONNECT_SECONDS)
        except TimeoutError:
            await channel.close()
            raise AnswerError("no gRPC server answers there") from None
        self._channel = channel

    @property
    def _stream(self) -> Any:
        if self._call is None:
            self._call = self._begin()
        return self._call

    def _begin(self, requests: Any = None) -> Any:
        assert self._channel is not None
        stream: Any = self._channel.stream_stream(SERVICE + self._method)
        return stream(requests, **self._more)

    async def ask(self, request: bytes, told: Told = unheard) -> int:
        size = 0
        try:
            async for message in self._begin(iter([request])):
                size += len(message)
                told(message)
        except grpc.aio.AioRpcError as error:
            raise refused(error) from None
        return size

    async def whole(self, request: bytes) -> list[bytes]:
        found: list[bytes] = []
        await self.ask(request, found.append)
        return found

    async def send(self, request: bytes) -> None:
        await self._stream.write(request)

    async def end(self) -> None:
        await self._stream.done_writing()

    async def receive(self) -> bytes | None:
        """The stream's next message; None after the last."""
        try:
            message = await self._stream.read()
            if message is not grpc.aio.EOF:
                return bytes(message)
            code = await self._call.code()
            if code is grpc.StatusCode.OK:
                return None
            raise AnswerError(f"{code.name}: {await self._call.details()}")
        except grpc.aio.AioRpcError as error:
            raise refused(error) from None

    def read(self, message: bytes) -> tuple[str, str]:
        error = ""
        if self._triton:
            try:
                error, message = split_reply(message)
            except DecodeError:
                message = b""
            if not message:
                # What stands first in MLServer's reply, the model's name, is an error here.
                error += " (the reply may be in MLServer's dialect, --wire grpc)"
        response = pb.ModelInferResponse.FromString(message)
        if not response.model_name and not error:
            raise AnswerError("the reply names no model; is it in Triton's dialect, --wire triton?")
        if not error and "error" in response.parameters and not response.outputs:
            error = response.parameters["error"].string_param
        return error, response.id

    async def close(self) -> None:
        if self._channel is not None:
            await self._channel.close(0)


def refused(error: grpc.aio.AioRpcError) -> AnswerError:
    """What ended a call, in words."""
    return AnswerError(f"{error.code().name}: {error.details()}")
