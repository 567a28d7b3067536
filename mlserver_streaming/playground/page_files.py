"""The page's files, read once, at exact paths.

Not Starlette's StaticFiles: its answers to Range headers can be made to take for ever
(CVE-2025-62727), and it looks for files by what a caller writes.
"""

from __future__ import annotations

import hashlib
from html import escape
from importlib.resources import files

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

PATH = "/playground"
INDEX = "index.html"
OPENAI = 'data-openai=""'
TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
# Its own files and its own host, and no more: https://www.w3.org/TR/CSP3/. There 'self' is this
# host's WebSockets too.
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "img-src 'self' blob: data:",
        "media-src blob:",
        "worker-src 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
        "form-action 'none'",
    )
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(self), microphone=(self)",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # Kept, and asked for again each time: a new service has a new page.
    "Cache-Control": "no-cache",
}


class PageFiles:
    """`GET /playground`, and what that page loads from below it."""

    def __init__(self, openai: str | None = None):
        """
        Args:
            openai: the prefix of OpenAI's routes, which the page is told.
        """
        told = OPENAI.replace('""', f'"{escape((openai or "").strip("/"))}"')
        self._files = {}
        for each in files(__package__).joinpath("page").iterdir():
            body = each.read_bytes()
            if each.name == INDEX:
                self._files[PATH] = _file(each.name, body.replace(OPENAI.encode(), told.encode()))
            elif each.name.rpartition(".")[2] in TYPES:
                self._files[f"{PATH}/{each.name}"] = _file(each.name, body)

    @property
    def paths(self) -> frozenset[str]:
        """All of them. They hold nothing of the service, so they need no key."""
        return frozenset(self._files)

    def routes(self) -> list[BaseRoute]:
        return [Route(path, self._serve, include_in_schema=False) for path in self._files]

    async def _serve(self, request: Request) -> Response:
        path = request.scope["path"].removeprefix(request.scope.get("root_path", ""))
        body, headers = self._files[path]
        if headers["ETag"] in _tags(request.headers.get("if-none-match", "")):
            return Response(status_code=304, headers=headers)
        return Response(body, headers=headers)


def _file(name: str, body: bytes) -> tuple[bytes, dict[str, str]]:
    # Weak, since what is sent may be compressed.
    tag = f'W/"{hashlib.sha256(body).hexdigest()[:32]}"'
    kind = TYPES[name.rpartition(".")[2]]
    return body, {**HEADERS, "ETag": tag, "Content-Type": kind}


def _tags(header: str) -> set[str]:
    """The entity tags of an If-None-Match, all weak: https://www.rfc-editor.org/rfc/rfc9110#section-13.1.2"""
    tags = (tag.strip().removeprefix("W/") for tag in header.split(","))
    return {f"W/{tag}" for tag in tags}
