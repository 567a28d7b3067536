"""Requests whose tensor lies in shared memory: for a server on this host that has turned it on.

https://docs.nvidia.com/deeplearning/triton-inference-server/user-guide/docs/protocol/extension_shared_memory.html
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from multiprocessing.shared_memory import SharedMemory
from typing import Any

import grpc
from mlserver.grpc.dataplane_pb2 import ModelInferRequest

from .grpc_channel import call_error
from .server import Server

METHOD = "/inference.GRPCInferenceService/SystemSharedMemory"
# A smaller tensor costs less in its message.
SMALL_BYTES = 4096
# How long the server may take to forget a region; it forgets it anyway when the file is gone.
FORGET_S = 2.0


class Regions:
    """Regions that one call's requests take in turn; a request has one until it is answered.

    `close` must follow: it removes the files.
    """

    def __init__(self, channel: grpc.aio.Channel, server: Server) -> None:
        self._channel, self._server = channel, server
        self._all: list[SharedMemory] = []
        self._free: list[SharedMemory] = []

    async def moved(self, request: ModelInferRequest) -> tuple[ModelInferRequest, SharedMemory]:
        """The request, its one tensor in a region; and that region, to be given back.

        Raises RefusedError where the server takes no regions, and what a call raises.
        """
        (raw,) = request.raw_input_contents
        region = await self._take(len(raw))
        assert region.buf is not None
        region.buf[: len(raw)] = raw
        found = ModelInferRequest(
            model_name=request.model_name,
            model_version=request.model_version,
            id=request.id,
            parameters=request.parameters,
            inputs=request.inputs,
            outputs=request.outputs,
        )
        said = found.inputs[0].parameters
        said["shared_memory_region"].string_param = region.name
        said["shared_memory_byte_size"].int64_param = len(raw)
        return found, region

    def give_back(self, region: SharedMemory) -> None:
        """Its request is answered."""
        self._free.append(region)

    async def close(self) -> None:
        """Take all regions from the server, and remove their files."""
        regions, self._all, self._free = self._all, [], []
        for region in regions:
            region.close()
            region.unlink()
        with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError, TimeoutError):
            for region in regions:
                async with asyncio.timeout(FORGET_S):
                    await self._call("Unregister", _text(1, region.name))

    async def _take(self, size: int) -> SharedMemory:
        for region in self._free:
            if region.size >= size:
                self._free.remove(region)
                return region
        # JPEGs are not all of one size; what is not written to takes no memory.
        region = SharedMemory(create=True, size=1 << (size - 1).bit_length())
        self._all.append(region)
        try:
            await self._call("Register", registration(region))
        except grpc.aio.AioRpcError as error:
            raise call_error(error, self._server) from error
        return region

    async def _call(self, name: str, message: bytes) -> None:
        # MLServer's stubs do not have it.
        method: Any = self._channel.unary_unary(METHOD + name)
        await method(message, metadata=self._server.credentials.metadata())


def registration(region: SharedMemory) -> bytes:
    """The SystemSharedMemoryRegisterRequest of a region, under the name of its file."""
    return _text(1, region.name) + _text(2, region.name) + _number(4, region.size)


def _text(field: int, text: str) -> bytes:
    """A protobuf field with a short text."""
    data = text.encode()
    return bytes([field << 3 | 2, len(data)]) + data


def _number(field: int, value: int) -> bytes:
    """A protobuf field with a number."""
    found = bytearray([field << 3])
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])
