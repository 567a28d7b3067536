"""Triton's calls about the service beside inference, over HTTP.

https://github.com/triton-inference-server/server/tree/main/docs/protocol
"""

from collections.abc import Mapping
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ..streams.data_plane import StreamingDataPlane
from ..tensors.json_requests import parse_json
from .auth import ALL_STATISTICS
from .body import read_body

LOGGING, TRACE = "/v2/logging", "trace/setting"
# Of a few settings.
MAX_BODY_BYTES = 16 * 1024


class ManagementEndpoints:
    """`config`, `stats`, `logging` and `trace/setting`."""

    def __init__(self, data_plane: StreamingDataPlane):
        self._calls = data_plane.management

    def routes(self) -> list[Route]:
        model = "/v2/models/{model_name}"
        versioned = model + "/versions/{model_version}"
        # The statistics of all models before what is a model's: none of these names one `stats`.
        found = [Route(ALL_STATISTICS, self.statistics, include_in_schema=False)]
        for base in (model, versioned):
            found += [
                Route(f"{base}/config", self.config, include_in_schema=False),
                Route(f"{base}/stats", self.statistics, include_in_schema=False),
            ]
        for path, call in (
            (LOGGING, self.logging),
            (f"/v2/{TRACE}", self.tracing),
            (f"{model}/{TRACE}", self.tracing),
        ):
            found.append(Route(path, call, methods=["GET", "POST"], include_in_schema=False))
        return found

    async def config(self, request: Request) -> Response:
        return _json(await self._calls.config(*_model(request)))

    async def statistics(self, request: Request) -> Response:
        return _json(await self._calls.statistics(*_model(request)))

    async def logging(self, request: Request) -> Response:
        return _json(self._calls.log_settings(await _changes(request)))

    async def tracing(self, request: Request) -> Response:
        name, _ = _model(request)
        return _json(await self._calls.trace_settings(await _changes(request), name))


def _model(request: Request) -> tuple[str, str | None]:
    return request.path_params.get("model_name", ""), request.path_params.get("model_version")


async def _changes(request: Request) -> Mapping[str, Any]:
    if request.method != "POST":
        return {}
    body = await read_body(request, MAX_BODY_BYTES)
    return parse_json(body, "the settings to change") if body else {}


def _json(found: Mapping[str, Any]) -> Response:
    return Response(orjson.dumps(found), media_type="application/json")
