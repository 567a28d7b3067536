"""MLServer's REST server with our inference calls, and one form for every error."""

import gc
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import uvicorn
from fastapi.exceptions import RequestValidationError
from mlserver import MLModel
from mlserver.logging import logger
from mlserver.rest import RESTServer
from mlserver.rest.logging import disable_health_access_logs
from mlserver.settings import Settings
from mlserver.utils import generate_uuid
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Match, WebSocketRoute
from starlette.types import Receive, Scope, Send

from ..access.authenticator import announce
from ..access.tls import open_certificates, with_tls
from ..errors import DrainingError, InternalError, MLServerError
from ..ports import require_free
from ..streams.calls import REQUEST_ID, fit_id, returned_id
from ..streams.data_plane import StreamingDataPlane
from ..streams.repository_handlers import GuardedRepositoryHandlers
from ..watch import stream_log
from . import openapi
from .answer import GZIP_LEVEL
from .auth import protect
from .body import CODINGS
from .dialect import Dialect, dialect_of
from .docs import DOCUMENT, PAGE, DocumentEndpoints
from .endpoints import STREAM_CALLS, UNARY_CALLS, InferenceEndpoints
from .health import READY, HealthEndpoints
from .http_server import HttpServer
from .kept_streams import KeptStreams
from .management import ManagementEndpoints
from .origins import check_origins
from .repository import RepositoryEndpoints
from .segments import SegmentPaths, decode_parameters
from .shared_memory import SharedMemoryEndpoints
from .short_way import CLIENT_CLOSED_REQUEST, ShortWay
from .socket_tokens import SocketTokenEndpoint
from .tracing import trace_calls

# A bad value is quoted in its error; more than this of it helps nobody.
MAX_ERROR_CHARACTERS = 1000
# Streams end all the time: a client that was refused one need not wait long.
RETRY_AFTER = {"Retry-After": "1"}
# The last parts of the protocol's paths whose answers are compressed in `AnswerGZipMiddleware`.
COMPRESSED = (PAGE, DOCUMENT)
# What a status is to come with.
HEADERS = {
    415: {"Accept-Encoding": ", ".join(CODINGS)},  # RFC 9110, 15.5.16
    429: RETRY_AFTER,
    503: RETRY_AFTER,
}


class StreamingRESTServer(RESTServer):
    """Replaces the inference routes, their description and the index; the rest is MLServer's."""

    _data_plane: StreamingDataPlane

    def __init__(
        self,
        settings: Settings,
        data_plane: StreamingDataPlane,
        model_repository_handlers: GuardedRepositoryHandlers,
        dialects: Sequence[Dialect] = (),
        routes: Sequence[BaseRoute] = (),
        open_paths: Collection[str] = (),
    ):
        """
        Args:
            dialects: other APIs on the same port.
            routes: of the rooms above.
            open_paths: those of them that need no key.
        """
        super().__init__(settings, data_plane, model_repository_handlers)
        self._certificates = open_certificates(
            data_plane.streaming.tls, settings.model_repository_root
        )
        streams = KeptStreams(data_plane, settings.gzip_enabled, dialects)
        endpoints = InferenceEndpoints(data_plane, gzip=settings.gzip_enabled, kept=streams)
        self._calls = endpoints.calls()
        documents = DocumentEndpoints(data_plane, settings, dialects)
        repository = RepositoryEndpoints(model_repository_handlers)
        ours = {*UNARY_CALLS, *STREAM_CALLS, PAGE, DOCUMENT, READY}
        kept = [
            route
            for route in self._app.router.routes
            if getattr(route, "path", "").rpartition("/")[2] not in ours
        ]
        self._app.router.routes[:] = [
            *endpoints.routes(),
            *streams.routes(),
            *HealthEndpoints(data_plane).routes(),
            *ManagementEndpoints(data_plane).routes(),
            *documents.routes(),
            *repository.routes(),
            *SharedMemoryEndpoints(data_plane.regions).routes(),
            *SocketTokenEndpoint(data_plane).routes(),
            *(route for dialect in dialects for route in dialect.routes()),
            *routes,
            *kept,
        ]
        decode_parameters(self._app.router.routes)
        self._app.state.dialects = tuple(dialects)
        for error, handler in EXCEPTION_HANDLERS.items():
            self._app.add_exception_handler(error, handler)
        self._amend_middleware()
        trace_calls(self._app, settings)
        stream_log.configure(settings)
        protect(self._app, data_plane.authenticator, open_paths)
        check_origins(self._app, settings.cors_settings)
        announce(settings, data_plane.authenticator.enabled)
        self._server: Any = None
        self._stopped = False
        generated, keyed = self._app.openapi, data_plane.authenticator.enabled

        def whole() -> dict[str, Any]:
            return documents.whole(openapi.complete(generated(), keyed))

        self._app.openapi = whole  # type: ignore[method-assign]

    async def add_custom_handlers(self, model: MLModel) -> MLModel:
        added = await super().add_custom_handlers(model)
        decode_parameters(self._app.router.routes)
        return added

    async def start(self) -> None:
        if self._stopped:
            return
        # Here for all ports: MLServer starts this server first.
        self._require_ports()
        streaming = self._data_plane.streaming
        self._server = HttpServer(
            self._get_config(),
            streaming.limits.stream_idle_seconds,
            self._is_websocket,
            streaming.limits.request_bytes,
            streaming.keepalive_seconds,
            self._data_plane.request_room,
        )
        if not self._settings.debug:
            disable_health_access_logs()
        scheme = "http" if self._certificates is None else "https"
        host, port = self._settings.host, self._settings.http_port
        logger.info("HTTP server running on %s://%s:%s", scheme, host, port)
        # What is here now stays: a full collection would look through all of it, for 0.1 s, again
        # and again while streams wait. Nor is it looked through now: of what imports left behind
        # little is old.
        gc.collect(1)
        gc.freeze()
        await self._server.serve()

    async def stop(self, sig: int | None = None) -> None:
        """Close this edge; one that has not started yet does not."""
        self._stopped = True
        if self._server is not None:
            await super().stop(sig)

    def _is_websocket(self, path: str) -> bool:
        """Whether there is a WebSocket at a path."""
        scope = {"type": "websocket", "path": path}
        return any(
            route.matches(scope)[0] is Match.FULL
            for route in self._app.router.routes
            if isinstance(route, WebSocketRoute)
        )

    def _require_ports(self) -> None:
        settings = self._settings
        ports = {
            "http_port": settings.http_port,
            "grpc_port": settings.grpc_port,
            "metrics_port": settings.metrics_port if settings.metrics_endpoint else None,
            "streaming.triton_port": self._data_plane.streaming.triton_port,
        }
        require_free(settings.host, ports)

    def _get_config(self) -> uvicorn.Config:
        if self._certificates is not None:
            self._certificates.announce()
        config = super()._get_config()  # type: ignore[no-untyped-call]
        stream_log.configure(self._settings)  # uvicorn's handlers exist from here on
        app: Any = config.app
        if not self._settings.tracing_server:  # spans are made in the app
            app = ShortWay(app, self._calls, EXCEPTION_HANDLERS)
        config.app = SegmentPaths(app)
        return with_tls(config, self._certificates)

    def _amend_middleware(self) -> None:
        """Give MLServer's middleware the arguments that its app leaves out."""
        cors = self._settings.cors_settings
        for middleware in self._app.user_middleware:
            kind: object = middleware.cls
            if cors is not None and kind is CORSMiddleware:
                middleware.kwargs["expose_headers"] = cors.expose_headers or []
            if kind is GZipMiddleware:
                ours: Any = AnswerGZipMiddleware
                middleware.cls = ours
                middleware.kwargs["compresslevel"] = GZIP_LEVEL


class AnswerGZipMiddleware(GZipMiddleware):
    """Compresses the documents, and what runtimes add.

    Answers to inference see to it themselves; other dialects' may be either; and of the protocol's
    other answers Triton's asynchronous client says that it takes gzip, but cannot read it
    (findings/tritonclient-http-aio-gzip.sh).

    Starlette makes a compressor for each request and keeps it as long as the response lasts: 90 KiB
    for each stream, never used.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (_is_plain(scope["path"]) or dialect_of(scope)):
            await self.app(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


def _is_plain(path: str) -> bool:
    """Whether a path's answer is sent as it is."""
    return path.startswith("/v2") and path.rpartition("/")[2] not in COMPRESSED


def _error(
    request: Request,
    status: int,
    message: str,
    headers: Mapping[str, str] | None = None,
    error: Exception | None = None,
) -> Response:
    if len(message) > MAX_ERROR_CHARACTERS:
        message = message[:MAX_ERROR_CHARACTERS] + "..."
    own = {**(headers or {}), **returned_id(request.headers)}
    if dialect := dialect_of(request.scope):
        return dialect.error(status, message, own, error)
    return JSONResponse({"error": message}, status, own)


async def _mlserver_error(request: Request, error: Any) -> Response:
    status = error.status_code
    headers = HEADERS.get(status)
    if isinstance(error, DrainingError):
        # The client's next request must not come just as the connection is closed.
        headers = {**RETRY_AFTER, "Connection": "close"}
    return _error(request, status, str(error), headers, error)


async def _http_error(request: Request, error: Any) -> Response:
    path, headers = request.scope["path"], error.headers
    if error.status_code == 405 and "GET" in (allowed := headers["Allow"].split(", ")):
        # RFC 9110, 9.1; FastAPI's own routes do not say so, and HttpServer sees to it.
        headers = {"Allow": ", ".join(sorted({*allowed, "HEAD"}))}
    said = {
        404: f"There is nothing at {path}; GET /v2/docs shows what there is.",
        405: f"{request.method} is not for {path}; it takes "
        f"{(headers or {}).get('Allow', 'another method')}.",
    }
    message = said.get(error.status_code, str(error.detail))
    return _error(request, error.status_code, message, headers)


async def _validation_error(request: Request, error: Any) -> Response:
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"])
    return _error(request, 400, f"Field '{field}': {first['msg']}.")


async def _unexpected_error(request: Request, error: Exception) -> Response:
    path = request.scope["path"]
    # uvicorn logs the traceback: Starlette raises the error again once this is sent.
    internal = InternalError(fit_id(request.headers.get(REQUEST_ID)) or generate_uuid())
    logger.error("%s %a: %s", request.method, path, internal)
    return _error(request, 500, str(internal))


async def _client_gone(request: Request, error: Exception) -> Response:
    return Response(status_code=CLIENT_CLOSED_REQUEST)


EXCEPTION_HANDLERS: dict[Any, Any] = {
    MLServerError: _mlserver_error,
    HTTPException: _http_error,
    RequestValidationError: _validation_error,
    ClientDisconnect: _client_gone,
    Exception: _unexpected_error,
}
