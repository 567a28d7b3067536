"""Which pages may open a WebSocket here: for those, browsers ask nobody before.

https://www.rfc-editor.org/rfc/rfc6455#section-10.2
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from mlserver.settings import CORSSettings
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from ..streams.calls import returned_id
from .dialect import dialect_of

PORTS = {"http": 80, "https": 443}
REFUSED = (
    "Pages of this origin may not open sockets here; serve the page from here, or name its origin "
    "in the service's 'cors_settings'."
)


class OriginCheck:
    """Answers 403 to a WebSocket of a page from elsewhere, before anybody asks for a key. Programs
    send no Origin; they pass."""

    def __init__(self, app: ASGIApp, cors: CORSSettings | None = None):
        self._app = app
        self._names = frozenset((cors and cors.allow_origins) or ())
        pattern = cors.allow_origin_regex if cors else None
        self._pattern = re.compile(pattern) if pattern is not None else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket" and not self._is_allowed(headers := Headers(scope=scope)):
            given, dialect = returned_id(headers), dialect_of(scope)
            answer: Response = JSONResponse({"error": REFUSED}, 403, given)
            if dialect is not None:
                answer = dialect.error(403, REFUSED, given, None)
            await answer(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _is_allowed(self, headers: Headers) -> bool:
        origins = headers.getlist("origin")
        return all(
            is_same(origin, headers.get("host", ""))
            or "*" in self._names
            or origin in self._names
            or (self._pattern is not None and self._pattern.fullmatch(origin) is not None)
            for origin in origins
        )


def is_same(origin: str, host: str) -> bool:
    """Whether a page is from here: its origin names the host and the port that it asks."""
    try:
        page = urlsplit(origin)
        asked = urlsplit(f"//{host}")
        usual = PORTS.get(page.scheme)
        return usual is not None and (page.hostname, page.port or usual) == (
            asked.hostname,
            asked.port or usual,
        )
    except ValueError:
        return False


def check_origins(app: Starlette, cors: CORSSettings | None) -> None:
    """Put the check before all else that an app of MLServer's does."""
    app.user_middleware.insert(0, Middleware(OriginCheck, cors=cors))
