"""The segments of a path, told apart before they are decoded.

Servers decode a path as a whole, and the slash within a name (`org%2Fmodel`) becomes one between
segments. Here the path that is routed, and authorised, keeps encoded what would be read as the
path's own, and the routes decode their parameters: once, after the segments are told apart.
https://www.rfc-editor.org/rfc/rfc3986#section-2.4
"""

from collections.abc import Awaitable, Iterable
from typing import Any
from urllib.parse import quote, unquote

from starlette.convertors import Convertor
from starlette.types import ASGIApp, Receive, Scope, Send

# What ends a segment or a path, and the sign of what is encoded.
KEPT = str.maketrans({each: quote(each, safe="") for each in "%/?#"})


class SegmentPaths:
    """Lets an app see paths whose segments are as they were sent. It must decode its parameters
    (`decode_parameters`), and what it reads of the path itself."""

    def __init__(self, app: ASGIApp):
        self._app = app

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope["type"] != "lifespan" and b"%" in scope["raw_path"]:
            # A copy: the server writes its own log of the scope that it gave.
            scope = {**scope, "path": told_apart(scope["raw_path"])}
        return self._app(scope, receive, send)


def told_apart(raw_path: bytes) -> str:
    """A path as it was sent, decoded but for what would be read as the path's own."""
    segments = raw_path.decode("ascii").split("/")
    return "/".join(unquote(segment).translate(KEPT) for segment in segments)


class Decoding(Convertor[Any]):
    """Another convertor, of what is decoded."""

    def __init__(self, inner: Convertor[Any]):
        self._inner = inner

    def convert(self, value: str) -> Any:
        return self._inner.convert(unquote(value))

    def to_string(self, value: Any) -> str:
        return quote(self._inner.to_string(value))


def decode_parameters(routes: Iterable[Any]) -> None:
    """Let routes decode the parameters of their paths. Twice is as good as once."""
    for route in routes:
        convertors = getattr(route, "param_convertors", {})
        for name, convertor in convertors.items():
            if not isinstance(convertor, Decoding):
                convertors[name] = Decoding(convertor)
