"""Shared memory over gRPC, on both ports: Triton's methods, which MLServer's protobuf lacks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import grpc

from ..regions.peers import is_local
from ..regions.regions import CallerRegions, Regions, no_cuda, no_cuda_region
from .errors import answers_errors
from .triton.messages import CLASSES

if TYPE_CHECKING:  # the generic exists in grpc's stubs only
    Context = grpc.aio.ServicerContext[Any, Any]

METHODS = [
    f"{kind}SharedMemory{call}"
    for kind in ("System", "Cuda")
    for call in ("Status", "Register", "Unregister")
]

REQUESTS = {"SystemSharedMemoryRegister": "SystemRegion"}


class SharedMemoryServicer:
    """The calls by their names, as Triton has them."""

    def __init__(self, regions: Regions):
        self._regions = regions

    @answers_errors
    async def SystemSharedMemoryStatus(self, request: Any, context: Context) -> Any:
        regions = regions_of(self._regions, context).status(request.name)
        return CLASSES["SystemSharedMemoryStatusResponse"](
            regions=[
                {
                    "key": region.name,
                    "value": {
                        "name": region.name,
                        "key": region.key,
                        "offset": region.offset,
                        "byte_size": region.byte_size,
                    },
                }
                for region in regions
            ]
        )

    @answers_errors
    async def SystemSharedMemoryRegister(self, request: Any, context: Context) -> Any:
        own = regions_of(self._regions, context)
        own.register(request.name, request.key, request.offset, request.byte_size)
        return CLASSES["Nothing"]()

    @answers_errors
    async def SystemSharedMemoryUnregister(self, request: Any, context: Context) -> Any:
        regions_of(self._regions, context).unregister(request.name)
        return CLASSES["Nothing"]()

    @answers_errors
    async def CudaSharedMemoryStatus(self, request: Any, context: Context) -> Any:
        if request.name:
            no_cuda_region(request.name)
        return CLASSES["Nothing"]()

    @answers_errors
    async def CudaSharedMemoryRegister(self, request: Any, context: Context) -> Any:
        no_cuda()

    @answers_errors
    async def CudaSharedMemoryUnregister(self, request: Any, context: Context) -> Any:
        """There is none: as good as done."""
        return CLASSES["Nothing"]()

    def handlers(self) -> dict[str, grpc.RpcMethodHandler[Any, Any]]:
        return {
            name: grpc.unary_unary_rpc_method_handler(
                getattr(self, name),
                request_deserializer=CLASSES[REQUESTS.get(name, "SharedMemoryName")].FromString,
                response_serializer=_serialised,
            )
            for name in METHODS
        }


def regions_of(regions: Regions, context: Context) -> CallerRegions:
    """The regions of who makes a call.

    Raises:
        UnsupportedError, ForbiddenError: none may be used.
    """
    headers: dict[str, Any] = dict(context.invocation_metadata() or ())
    return regions.of(is_local(host_of(context.peer()), headers))


def host_of(peer: str) -> str | None:
    """The address of a peer as gRPC has it: `ipv4:127.0.0.1:5000`, `ipv6:%5B::1%5D:5000`,
    `unix:PATH`; None for the last."""
    kind, _, rest = peer.partition(":")
    return None if kind == "unix" else unquote(rest).rpartition(":")[0].strip("[]") or "?"


def _serialised(message: Any) -> bytes:
    return bytes(message.SerializeToString())
