"""What a request asks of HTTP itself: answered here where it goes no further.

https://www.rfc-editor.org/rfc/rfc9110 and https://www.rfc-editor.org/rfc/rfc9112
"""

from collections.abc import Awaitable

from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from .host import are_proper

# What there is to ask for, of the service as a whole.
METHODS = {"Allow": "GET, HEAD, POST"}

# In the scope of a request whose answer has no body, for who would take long over one.
IS_HEAD = "is_head"


class RequestCheck:
    """Refuses what HTTP lets it refuse; HEAD is asked of the app as GET, wherever that is."""

    def __init__(self, app: ASGIApp):
        self._app = app

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        # No coroutine of its own: see rest/asked.py.
        if scope["type"] != "lifespan":
            if refusal := _refusal(scope):
                status, message = refusal
                # What follows may not be what it seems.
                answer = JSONResponse({"error": message}, status, {"Connection": "close"})
                return answer(scope, receive, send)
            if scope["type"] == "http" and scope["method"] != "POST":
                if scope["method"] == "HEAD":
                    # uvicorn has the method too, and keeps the body back.
                    scope = {**scope, "method": "GET", IS_HEAD: True}
                elif scope["method"] == "OPTIONS" and scope["path"] == "*":
                    return Response(status_code=204, headers=METHODS)(scope, receive, send)
        return self._app(scope, receive, send)


def _refusal(scope: Scope) -> tuple[int, str] | None:
    version, hosts = scope["http_version"], []
    if not version.startswith("1."):
        return 505, f"HTTP/{version} is not spoken here; send HTTP/1.1."
    for name, value in scope["headers"]:
        if name == b"host":
            hosts.append(value)
        elif name == b"transfer-encoding":
            if version == "1.0":
                return 400, "HTTP/1.0 has no Transfer-Encoding; send HTTP/1.1, or a Content-Length."
            if value.strip().lower() != b"chunked":
                return 501, "Of Transfer-Encodings only 'chunked' is known here."
        elif name == b"expect" and value.strip().lower() != b"100-continue" and version != "1.0":
            return 417, "Of expectations only '100-continue' can be met; leave out 'Expect'."
    if not are_proper(hosts, version):
        return (
            400,
            "The request must have one header 'Host', with the name or address of this service.",
        )
    return None
