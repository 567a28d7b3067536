"""The documents of the service and of each model: OpenAPI, and a page of it to read."""

from collections.abc import Sequence

import orjson
from mlserver.settings import Settings
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from ..streams.data_plane import StreamingDataPlane
from . import openapi
from .dialect import Dialect
from .docs_page import POLICY, page

PAGE, DOCUMENT = "docs", "dataplane.json"


class DocumentEndpoints:
    """`docs` and `docs/dataplane.json`, of the service and of each model."""

    def __init__(
        self,
        data_plane: StreamingDataPlane,
        settings: Settings,
        dialects: Sequence[Dialect] = (),
    ):
        self._data_plane = data_plane
        self._name, self._version = settings.server_name, settings.server_version
        self._keyed = data_plane.authenticator.enabled
        self._dialects = dialects

    def routes(self) -> list[Route]:
        model = "/v2/models/{model_name}"
        return [
            Route(f"{base}/{PAGE}{path}", endpoint, include_in_schema=False)
            for base in ("/v2", model, model + "/versions/{model_version}")
            for path, endpoint in (("", self.page), (f"/{DOCUMENT}", self.document))
        ]

    async def document(self, request: Request) -> Response:
        return Response(orjson.dumps(await self._found(request)), media_type="application/json")

    async def page(self, request: Request) -> Response:
        html = page(await self._found(request), f"docs/{DOCUMENT}")
        return HTMLResponse(html, headers={"Content-Security-Policy": POLICY})

    def named(self, document: openapi.Schema, model: str = "") -> openapi.Schema:
        """A document that bears the service's name and version."""
        title = f"{model} - {self._name}" if model else self._name
        about = "The V2 inference protocol over REST, with streams as server-sent events."
        return document | {"info": {"title": title, "version": self._version, "description": about}}

    def whole(self, document: openapi.Schema) -> openapi.Schema:
        """The document of the service, with every dialect's calls."""
        for dialect in self._dialects:
            document = dialect.described(document)
        return self.named(document)

    async def _found(self, request: Request) -> openapi.Schema:
        name = request.path_params.get("model_name")
        if name is None:
            return self.whole(openapi.document(self._keyed))
        version = request.path_params.get("model_version")
        await self._data_plane.model(name, version)
        return self.named(openapi.model_document(name, version, self._keyed), name)
