"""Nobody gets past here without a key: the REST edge's door, and the metrics'."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from urllib.parse import unquote

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from ..access.authenticator import API_KEY, AUTHORIZATION, REFUSED, Authenticator
from ..access.callers import INFER, NOBODY, Caller, authorise, require, set_current
from ..errors import ForbiddenError, MLServerError
from ..streams.calls import REST, WEBSOCKET, returned_id
from .dialect import dialect_of

# Probes of container platforms have no keys.
OPEN_PATHS = ("/v2/health/live", "/v2/health/ready")
MODELS = "/v2/models/"
# No model's; it tells of the caller's own.
ALL_STATISTICS = "/v2/models/stats"
# What a token stands behind in the name of a sub-protocol, and where OpenAI has its own for it.
TOKEN_PROTOCOL, OPENAI_PROTOCOL = "token.", "openai-insecure-api-key."
HEADERS = {
    401: {"WWW-Authenticate": "Bearer"},  # https://www.rfc-editor.org/rfc/rfc6750#section-3
    503: {"Retry-After": "10"},  # as long as the tokens' issuer is not asked again
}


class AuthMiddleware:
    """Sets the caller of each request, or answers 401 or 403 before its body is read."""

    def __init__(
        self, app: ASGIApp, authenticator: Authenticator, open_paths: Collection[str] = ()
    ):
        self._app = app
        self._authenticator = authenticator
        self._open_paths = {*OPEN_PATHS, *open_paths}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        dialect = dialect_of(scope)
        try:
            if path in self._open_paths:
                set_current(NOBODY)
            else:
                caller = await self._caller(scope, dialect is not None)
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

    async def _caller(self, scope: Scope, is_dialect: bool) -> Caller:
        headers = Headers(scope=scope)
        if scope["type"] == "websocket" and API_KEY not in headers and AUTHORIZATION not in headers:
            token = token_of(scope["subprotocols"], is_dialect)
            if token is not None:
                return self._authenticator.socket_tokens.take(token)
        return await self._authenticator.identify(headers)


def token_of(subprotocols: Iterable[str], is_dialect: bool) -> str | None:
    """The token that a browser's socket brings: it can name sub-protocols, and set no header.

    Args:
        is_dialect: whether the socket is OpenAI's, whose convention is another. It was made for
            keys; only tokens are taken here.
    """
    for name in subprotocols:
        for prefix in (TOKEN_PROTOCOL, *((OPENAI_PROTOCOL,) if is_dialect else ())):
            if name.startswith(prefix):
                return name.removeprefix(prefix)
    return None


def _require_path(caller: Caller, path: str) -> None:
    """Hold a caller who may use some models only to those, in the calls that runtimes add too."""
    if caller.models is None or path == ALL_STATISTICS:
        return
    if path.startswith(MODELS):
        authorise(unquote(path[len(MODELS) :].partition("/")[0]))
    elif path != "/v2" and not path.startswith("/v2/"):
        raise ForbiddenError(f"'{caller.name}' may use its models only, not {path}.")


def protect(app: Starlette, authenticator: Authenticator, open_paths: Collection[str] = ()) -> None:
    """Put the door into an app of MLServer's, inside what counts requests and what answers CORS
    preflights, which carry no key.

    Args:
        open_paths: need no key either, beside OPEN_PATHS.
    """
    if authenticator.enabled:
        kinds: list[object] = [each.cls for each in app.user_middleware]
        place = kinds.index(GZipMiddleware) if GZipMiddleware in kinds else len(kinds)
        door = Middleware(AuthMiddleware, authenticator=authenticator, open_paths=open_paths)
        app.user_middleware.insert(place, door)
