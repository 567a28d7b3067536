"""MLServer's REST server with our inference calls, and one form for every error."""

from typing import Any

from fastapi.exceptions import RequestValidationError
from mlserver.handlers import ModelRepositoryHandlers
from mlserver.logging import logger
from mlserver.rest import RESTServer
from mlserver.settings import Settings
from mlserver.utils import generate_uuid
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from . import openapi
from .data_plane import StreamingDataPlane
from .errors import InternalError, MLServerError
from .rest_docs import DOCUMENT, DocumentEndpoints
from .rest_endpoints import CLIENT_CLOSED_REQUEST, STREAM_CALLS, UNARY_CALLS, InferenceEndpoints
from .rest_repository import RepositoryEndpoints

# A bad value is quoted in its error; more than this of it helps nobody.
MAX_ERROR_CHARACTERS = 1000
# Responses are compressed on the event loop. For 1x3x640x640 numbers as JSON that takes 0.2 s; at
# level 9, which MLServer takes, every stream would stand still for 3.6 s and save a tenth.
GZIP_LEVEL = 1
# Streams end all the time: a client that was refused one need not wait long.
RETRY_AFTER = {"Retry-After": "1"}


class StreamingRESTServer(RESTServer):
    """Replaces the inference routes, their description and the index; the rest is MLServer's."""

    def __init__(
        self,
        settings: Settings,
        data_plane: StreamingDataPlane,
        model_repository_handlers: ModelRepositoryHandlers,
    ):
        super().__init__(settings, data_plane, model_repository_handlers)
        endpoints = InferenceEndpoints(data_plane, gzip=settings.gzip_enabled)
        documents = DocumentEndpoints(data_plane)
        repository = RepositoryEndpoints(model_repository_handlers)
        ours = {*UNARY_CALLS, *STREAM_CALLS, DOCUMENT}
        kept = [
            route
            for route in self._app.router.routes
            if getattr(route, "path", "").rpartition("/")[2] not in ours
        ]
        self._app.router.routes[:] = [
            *endpoints.routes(),
            *documents.routes(),
            *repository.routes(),
            *kept,
        ]
        for error, handler in EXCEPTION_HANDLERS.items():
            self._app.add_exception_handler(error, handler)
        self._amend_middleware()
        generated = self._app.openapi
        self._app.openapi = lambda: openapi.complete(generated())  # type: ignore[method-assign]

    def _amend_middleware(self) -> None:
        """Give MLServer's middleware the arguments that its app leaves out."""
        cors = self._settings.cors_settings
        for middleware in self._app.user_middleware:
            kind: object = middleware.cls
            if cors is not None and kind is CORSMiddleware:
                middleware.kwargs["expose_headers"] = cors.expose_headers or []
            if kind is GZipMiddleware:
                middleware.kwargs["compresslevel"] = GZIP_LEVEL


def _error(status: int, message: str, headers: dict[str, str] | None = None) -> Response:
    if len(message) > MAX_ERROR_CHARACTERS:
        message = message[:MAX_ERROR_CHARACTERS] + "..."
    return JSONResponse({"error": message}, status, headers)


async def _mlserver_error(request: Request, error: Any) -> Response:
    return _error(error.status_code, str(error), RETRY_AFTER if error.status_code == 429 else None)


async def _http_error(request: Request, error: Any) -> Response:
    said = {
        404: f"There is nothing at {request.url.path}; GET /v2/docs shows what there is.",
        405: f"{request.method} is not for {request.url.path}; it takes "
        f"{(error.headers or {}).get('Allow', 'another method')}.",
    }
    return _error(error.status_code, said.get(error.status_code, str(error.detail)), error.headers)


async def _validation_error(request: Request, error: Any) -> Response:
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"])
    return _error(400, f"Field '{field}': {first['msg']}.")


async def _unexpected_error(request: Request, error: Exception) -> Response:
    # uvicorn logs the traceback: Starlette raises the error again once this is sent.
    internal = InternalError(request.headers.get("x-request-id") or generate_uuid())
    logger.error("%s %s: %s", request.method, request.url.path, internal)
    return _error(500, str(internal))


async def _client_gone(request: Request, error: Exception) -> Response:
    return Response(status_code=CLIENT_CLOSED_REQUEST)


EXCEPTION_HANDLERS: dict[Any, Any] = {
    MLServerError: _mlserver_error,
    HTTPException: _http_error,
    RequestValidationError: _validation_error,
    ClientDisconnect: _client_gone,
    Exception: _unexpected_error,
}
