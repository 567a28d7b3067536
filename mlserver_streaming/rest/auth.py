"""Nobody gets past here without a key: the REST edge's door, and the metrics'."""

from __future__ import annotations

from urllib.parse import unquote

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from ..access.authenticator import REFUSED, Authenticator
from ..access.callers import INFER, NOBODY, Caller, authorise, require, set_current
from ..errors import ForbiddenError, MLServerError
from ..streams.calls import REST, WEBSOCKET, returned_id
from .dialect import dialect_of

# Probes of container platforms have no keys.
OPEN_PATHS = ("/v2/health/live", "/v2/health/ready")
MODELS = "/v2/models/"
# No model's; it tells of the caller's own.
ALL_STATISTICS = "/v2/models/stats"
HEADERS = {
    401: {"WWW-Authenticate": "Bearer"},  # https://www.rfc-editor.org/rfc/rfc6750#section-3
    503: {"Retry-After": "10"},  # as long as the tokens' issuer is not asked again
}


class AuthMiddleware:
    """Sets the caller of each request, or answers 401 or 403 before its body is read."""

    def __init__(self, app: ASGIApp, authenticator: Authenticator):
        self._app = app
        self._authenticator = authenticator

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        dialect = dialect_of(scope)
        try:
            if path in OPEN_PATHS:
                set_current(NOBODY)
            else:
                caller = await self._authenticator.identify(Headers(scope=scope))
                set_current(caller)
                require(INFER)
                if dialect is None:
                    _require_path(caller, path)
        except MLServerError as error:
            status = error.status_code
            protocol = WEBSOCKET if scope["type"] == "websocket" else REST
            REFUSED.labels(protocol=protocol, status=status).inc()
            headers = {**HEADERS.get(status, {}), **returned_id(Headers(scope=scope))}
            if dialect is None:
                answer: Response = JSONResponse({"error": str(error)}, status, headers)
            else:
                answer = dialect.error(status, str(error), headers, error)
            await answer(scope, receive, send)
            return
        await self._app(scope, receive, send)


def _require_path(caller: Caller, path: str) -> None:
    """Hold a caller who may use some models only to those, in the calls that runtimes add too."""
    if caller.models is None or path == ALL_STATISTICS:
        return
    if path.startswith(MODELS):
        authorise(unquote(path[len(MODELS) :].partition("/")[0]))
    elif path != "/v2" and not path.startswith("/v2/"):
        raise ForbiddenError(f"'{caller.name}' may use its models only, not {path}.")


def protect(app: Starlette, authenticator: Authenticator) -> None:
    """Put the door into an app of MLServer's, inside what counts requests and what answers CORS
    preflights, which carry no key."""
    if authenticator.enabled:
        kinds: list[object] = [each.cls for each in app.user_middleware]
        place = kinds.index(GZipMiddleware) if GZipMiddleware in kinds else len(kinds)
        app.user_middleware.insert(place, Middleware(AuthMiddleware, authenticator=authenticator))
