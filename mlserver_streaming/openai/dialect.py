"""All of OpenAI's routes, under one prefix, and its form of errors on them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from mlserver.settings import Settings
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket

from ..errors import UnsupportedError
from ..resume.position import Position
from ..resume.run import Run
from ..streams.data_plane import StreamingDataPlane
from .audio_route import AudioRoute
from .calls import Calls
from .document import with_routes
from .errors import IN_VAIN, NoModelError, error_object
from .kept_ask import KeptAsk
from .kept_text import KeptText
from .realtime import RealtimeEndpoint
from .stored_responses import StoredResponses
from .text_routes import text_routes


class OpenAIDialect:
    """A `rest.dialect.Dialect`."""

    def __init__(self, data_plane: StreamingDataPlane, settings: Settings, prefix: str):
        self.prefix = prefix
        self._data_plane = data_plane
        self._owner = settings.server_name
        self._keyed = data_plane.authenticator.enabled
        self._calls = Calls(data_plane, settings.gzip_enabled)
        self._kept = KeptText(self._calls)
        self._realtime = RealtimeEndpoint(self._calls)
        # No model says when it was made.
        self._created = int(time.time())

    def routes(self) -> list[BaseRoute]:
        responses = StoredResponses(self._calls, self._kept)
        posts = {
            **text_routes(self._calls, self._kept),
            **responses.posts(),
            "/audio/transcriptions": AudioRoute(self._calls),
            "/embeddings": self.embeddings,
        }
        gets = {
            "/models": self.models,
            "/models/{model_name}": self.model,
            "/realtime": self.realtime,
            **responses.gets(),
        }
        by_path: dict[str, dict[str, Any]] = {}
        methods = (("POST", posts), ("GET", gets), ("DELETE", responses.deletes()))
        for method, endpoints in methods:
            for path, endpoint in endpoints.items():
                by_path.setdefault(path, {})[method] = endpoint
        return [
            WebSocketRoute(f"{self.prefix}/realtime", _socket_function(self._realtime)),
            *(
                Route(
                    self.prefix + path,
                    _function(found),
                    methods=[*found],
                    include_in_schema=False,
                )
                for path, found in by_path.items()
            ),
        ]

    async def models(self, request: Request) -> Response:
        found = await self._data_plane.models()
        names = sorted({model.name for model in found})
        return JSONResponse({"object": "list", "data": [self._model(name) for name in names]})

    async def model(self, request: Request) -> Response:
        name = request.path_params["model_name"]
        if name not in {model.name for model in await self._data_plane.models()}:
            raise NoModelError(name)
        return JSONResponse(self._model(name))

    async def embeddings(self, request: Request) -> Response:
        raise UnsupportedError(
            "There are no embeddings on this route; a model that makes some is asked by "
            "/v2/models/NAME/infer."
        )

    async def realtime(self, request: Request) -> Response:
        """https://www.rfc-editor.org/rfc/rfc9110#section-15.5.22"""
        message = f"{request.url.path} is a WebSocket: open it as one (docs/openai.md)."
        return self.error(426, message, {"Upgrade": "websocket"}, None)

    def error(
        self, status: int, message: str, headers: Mapping[str, str], error: Exception | None
    ) -> Response:
        found = {**headers, **({"x-should-retry": "false"} if status in IN_VAIN else {})}
        return JSONResponse({"error": error_object(status, message, error)}, status, found)

    def has_begun(self, form: Mapping[str, Any]) -> bool:
        return KeptAsk.of(form) is not None

    async def read(
        self, request: Request, run: Run, position: Position, is_again: bool
    ) -> Response:
        return await self._kept.read(request, run, position, ends_with_204=is_again)

    def described(self, document: dict[str, Any]) -> dict[str, Any]:
        return with_routes(document, self.prefix, self._keyed)

    def _model(self, name: str) -> dict[str, Any]:
        return {
            "id": name,
            "object": "model",
            "created": self._created,
            "owned_by": self._owner,
        }


def _function(endpoints: Mapping[str, Any]) -> Any:
    """A path's endpoints, by method. Starlette takes what is no function for an app of its own, and
    of two routes with one path it names only the first one's methods."""

    async def answer(request: Request) -> Response:
        found: Response = await endpoints[request.method](request)
        return found

    return answer


def _socket_function(endpoint: RealtimeEndpoint) -> Any:
    """The same of a WebSocket."""

    async def serve(socket: WebSocket) -> None:
        await endpoint(socket)

    return serve
