"""Shared memory over HTTP: regions, and the inputs that lie in them.

https://docs.nvidia.com/deeplearning/triton-inference-server/user-guide/docs/protocol/extension_shared_memory.html
"""

from typing import Any

from mlserver.types import TensorData
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ..errors import BadRequestError
from ..regions.peers import is_local
from ..regions.regions import CallerRegions, Own, Regions, no_cuda, no_cuda_region
from ..regions.spans import REGION, TENSORS, Span, check_bytes
from ..settings import LimitSettings
from ..tensors.json_requests import parse_json
from ..tensors.steps import Steps
from .body import read_body

SYSTEM, CUDA = "/v2/systemsharedmemory", "/v2/cudasharedmemory"
NAMED = "/region/{region_name}"
# Of a registration: a key, and two numbers.
MAX_BODY_BYTES = 16 * 1024


class SharedMemoryEndpoints:
    """`status`, `register` and `unregister`, with a region's name or for all of a caller's."""

    def __init__(self, regions: Regions):
        self._regions = regions

    def routes(self) -> list[Route]:
        found = []
        for base, status, register, unregister in (
            (SYSTEM, self.status, self.register, self.unregister),
            (CUDA, _cuda_status, _cuda_register, _cuda_unregister),
        ):
            for path in (base, base + NAMED):
                found += [
                    Route(f"{path}/status", status, methods=["GET"], include_in_schema=False),
                    Route(
                        f"{path}/unregister", unregister, methods=["POST"], include_in_schema=False
                    ),
                ]
            found.append(
                Route(
                    f"{base}{NAMED}/register", register, methods=["POST"], include_in_schema=False
                )
            )
        return found

    async def status(self, request: Request) -> Response:
        regions = regions_of(self._regions, request).status(_name(request))
        return JSONResponse(
            [
                {
                    "name": region.name,
                    "key": region.key,
                    "offset": region.offset,
                    "byte_size": region.byte_size,
                }
                for region in regions
            ]
        )

    async def register(self, request: Request) -> Response:
        own = regions_of(self._regions, request)
        asked = parse_json(await read_body(request, MAX_BODY_BYTES), "'key' and 'byte_size'")
        key = asked.get("key")
        if not isinstance(key, str):
            raise BadRequestError("Field 'key' must be the name of a file under /dev/shm.")
        offset, size = (_number(asked, field) for field in ("offset", "byte_size"))
        own.register(_name(request), key, offset, size)
        return Response()

    async def unregister(self, request: Request) -> Response:
        regions_of(self._regions, request).unregister(_name(request))
        return Response()


def regions_of(regions: Regions, request: HTTPConnection) -> CallerRegions:
    """The regions of who sent a request.

    Raises:
        UnsupportedError, ForbiddenError: none may be used.
    """
    client = request.client
    return regions.of(is_local(client.host if client else None, request.headers))


def attach_regions(parsed: dict[str, Any], limits: LimitSettings, own: Own) -> Steps[None]:
    """Give each input of a parsed request that lies in a region a copy of its bytes.

    As with `binary.attach_tensors`, `decode_request` reads them once it has checked shape and
    datatype.

    Raises:
        BadRequestError: there is no such part of a region, or the input has data too.
        MLServerError: there is no such region, or none may be used.
    """
    claimed = 0
    inputs = parsed.get("inputs")
    for index, tensor in enumerate(inputs if isinstance(inputs, list) else []):
        given = tensor.get("parameters") if isinstance(tensor, dict) else None
        if not isinstance(given, dict) or REGION not in given:
            continue
        name = tensor.get("name")
        if "data" in tensor:
            raise BadRequestError(f"Input '{name}' has both data and a region; send one.")
        span = Span.take(own(), f"input '{name}'", given)
        claimed += span.size
        check_bytes(limits, claimed)
        tensor["data"] = TensorData.model_construct(root=(yield from span.read()))
        if index % TENSORS == TENSORS - 1:
            yield


def _name(request: Request) -> str:
    return str(request.path_params.get("region_name", ""))


def _number(asked: dict[str, Any], field: str) -> int:
    value = asked.get(field, 0)
    if type(value) is not int or value < 0:
        raise BadRequestError(f"Field '{field}' must be a number of bytes, 0 or more.")
    return value


async def _cuda_status(request: Request) -> Response:
    if name := _name(request):
        no_cuda_region(name)
    return JSONResponse([])


async def _cuda_register(request: Request) -> Response:
    no_cuda()


async def _cuda_unregister(request: Request) -> Response:
    """There is none: as good as done."""
    return Response()
