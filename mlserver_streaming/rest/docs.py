"""Where the OpenAPI document is served; MLServer's own docs pages read it from there."""

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ..streams.data_plane import StreamingDataPlane
from . import openapi

DOCUMENT = "dataplane.json"


class DocumentEndpoints:
    """`docs/dataplane.json`, of the service and of each model."""

    def __init__(self, data_plane: StreamingDataPlane):
        self._data_plane = data_plane
        self._keyed = data_plane.authenticator.enabled

    def routes(self) -> list[Route]:
        model = "/v2/models/{model_name}"
        return [
            Route(f"{base}/docs/{DOCUMENT}", endpoint, include_in_schema=False)
            for base, endpoint in (
                ("/v2", self.document),
                (model, self.model_document),
                (model + "/versions/{model_version}", self.model_document),
            )
        ]

    async def document(self, request: Request) -> Response:
        return _json(openapi.document(self._keyed))

    async def model_document(self, request: Request) -> Response:
        name, version = request.path_params["model_name"], request.path_params.get("model_version")
        await self._data_plane.model(name, version)
        return _json(openapi.model_document(name, version, self._keyed))


def _json(document: openapi.Schema) -> Response:
    return Response(orjson.dumps(document), media_type="application/json")
