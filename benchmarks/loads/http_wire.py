"""HTTP over a bare socket and httptools: cheap enough for a thousand streams on one core, strict
about errors. Server-sent events are told as they come."""

import asyncio
import json
import ssl
from collections.abc import Mapping
from typing import Any, cast

import httptools

from .load_process import ENOUGH, AnswerError, Told, unheard

OK = 200
ERROR_EVENT = b"event: error"
# An error's body, read to say what went wrong.
MAX_ERROR_BYTES = 64 * 1024
JSON = "application/json"
BOUNDARY = b"----a-boundary-that-no-jpeg-holds"


def post(
    path: str,
    body: bytes,
    content_type: str = JSON,
    headers: Mapping[str, str] | None = None,
    host: str = "localhost",
) -> bytes:
    """A whole request."""
    lines = [
        f"POST {path} HTTP/1.1",
        f"Host: {host}",
        f"Content-Type: {content_type}",
        f"Content-Length: {len(body)}",
        *(f"{name}: {value}" for name, value in (headers or {}).items()),
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def form(data: bytes) -> tuple[bytes, str]:
    """A form's body that holds one file, named `file`; and its content type."""
    head = (
        b'Content-Disposition: form-data; name="file"; filename="file"\r\n'
        b"Content-Type: application/octet-stream"
    )
    body = b"--%b\r\n%b\r\n\r\n%b\r\n--%b--\r\n" % (BOUNDARY, head, data, BOUNDARY)
    return body, f"multipart/form-data; boundary={BOUNDARY.decode()}"


class EventSplitter:
    """Bytes of a body in, whole events out; comments, which only keep a connection alive, are left
    out."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        *blocks, self._rest = (self._rest + data).replace(b"\r\n", b"\n").split(b"\n\n")
        return [block for block in blocks if any(map(_is_field, block.split(b"\n")))]


def _is_field(line: bytes) -> bool:
    return line.startswith((b"data:", b"event:"))


class HttpWire(asyncio.Protocol):
    """One keep-alive connection; one request on it at a time (calls.py).

    Attributes:
        size: bytes that the last answer took.
    """

    in_turn = True

    def __init__(self, host: str, port: int, tls: ssl.SSLContext | None = None) -> None:
        self._server, self._tls = (host, port), tls
        self._transport: asyncio.Transport | None = None
        self._done: asyncio.Future[None] | None = None

    async def open(self) -> None:
        """Connect, and again where the server has closed the connection, as some do after an
        answer."""
        if self._transport is None or self._transport.is_closing():
            loop = asyncio.get_running_loop()
            await loop.create_connection(lambda: self, *self._server, ssl=self._tls)

    async def whole(self, request: bytes) -> bytes:
        """The answer's body."""
        await self.ask(request, None)
        return self._body

    async def ask(self, request: bytes, told: Told | None = unheard) -> int:
        """The bytes that the answer took; without `told` its body is kept."""
        await self.open()
        assert self._transport is not None
        self._parser = httptools.HttpResponseParser(self)
        self._splitter, self._body, self._told, self.size = EventSplitter(), b"", told, 0
        self._done = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        await self._done
        return self.size

    def read(self, message: bytes) -> tuple[str, str]:
        return "", ""  # `ask` has raised an error

    async def close(self) -> None:
        """Hang up; over TLS too, without a word."""
        if self._transport is not None:
            self._transport.abort()

    # asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop has a class of its own

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(AnswerError("the server cut the connection"))

    def data_received(self, data: bytes) -> None:
        self.size += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._end(AnswerError(f"the answer is not HTTP: {error}"))

    # httptools' side

    def on_body(self, body: bytes) -> None:
        if self._parser.get_status_code() != OK:
            self._body = (self._body + body)[:MAX_ERROR_BYTES]
        elif self._told is None:
            self._body += body
        elif self._told is not unheard:
            for event in self._splitter.feed(body):
                if ERROR_EVENT in event:
                    self._end(AnswerError(error_text(event.partition(b"data:")[2])))
                elif self._told(event) is ENOUGH:
                    self._told = unheard
                    break

    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        if status != OK:
            self._end(AnswerError(f"{status}: {error_text(self._body)}"))
        self._end(None)

    def _end(self, error: Exception | None) -> None:
        if self._done is None or self._done.done():
            return
        if error is None:
            self._done.set_result(None)
        else:
            self._done.set_exception(error)


def error_text(body: bytes) -> str:
    """What a server says went wrong, out of its JSON where there is some."""
    try:
        found: Any = json.loads(body)
        return str(found["error"] if "error" in found else found["detail"])
    except (ValueError, KeyError, TypeError):
        return body.decode(errors="replace").strip()[:200] or "an error without a text"
