"""What a proxy says of the client whose request it passes on: uvicorn's, where one says so."""

from collections.abc import Awaitable
from typing import Any

from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

FORWARDED = frozenset((b"x-forwarded-for", b"x-forwarded-proto"))


class ProxyHeaders(ProxyHeadersMiddleware):
    """As uvicorn's. A request without such headers passes no coroutine here: a stream goes through
    all of them again each time that it has waited."""

    def __call__(  # type: ignore[override]
        self, scope: Any, receive: Any, send: Any
    ) -> Awaitable[None]:
        for name, _ in scope.get("headers", ()):
            if name in FORWARDED:
                return super().__call__(scope, receive, send)
        return self.app(scope, receive, send)
