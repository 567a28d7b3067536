"""RFC 6455 without I/O: the library's protocol, what it may hold, and the words it closes with."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import orjson
from websockets.exceptions import PayloadTooBig
from websockets.extensions.permessage_deflate import (
    PerMessageDeflate,
    ServerPerMessageDeflateFactory,
)
from websockets.frames import Frame, Opcode
from websockets.http11 import Request, Response
from websockets.server import ServerProtocol

from ..streams.room import FREE_BYTES, SWELLING, BusyError

# A close frame holds no more.
# https://www.rfc-editor.org/rfc/rfc6455#section-5.5.1
REASON_BYTES = 123
# Browsers always ask for it. Each message by itself, so that nothing is kept between them: with
# zlib's state an idle socket takes half as much again.
DEFLATE = ServerPerMessageDeflateFactory(
    server_no_context_takeover=True, client_no_context_takeover=True, server_max_window_bits=12
)
# A frame is unmasked at once, and undone where it is compressed: so many bytes in some 50 ms.
FRAME_BYTES = 8 * 1024 * 1024
# What a connection says of itself is in the service's own lines.
QUIET = logging.getLogger("mlserver.websockets")
QUIET.setLevel(logging.WARNING)
NOT_UTF8 = 1007
# 4000, and the HTTP status.
BUSY = 4429
RESTART = 1012
SENTENCES = {
    1002: "This is no frame of RFC 6455 that a client may send.",
    NOT_UTF8: "A text message must be UTF-8.",
    BUSY: str(BusyError()),
    RESTART: "The service restarts; come back.",
}


class Deflate(PerMessageDeflate):
    """The library's, which asks its connection before it undoes a frame."""

    connection: WebSocketConnection

    def decode(self, frame: Frame, *, max_size: int | None = None) -> Frame:
        if frame.rsv1 or (frame.opcode is Opcode.CONT and self.decode_cont_data):
            return self.connection.decoded(super().decode, frame, max_size)
        return super().decode(frame, max_size=max_size)


class WebSocketConnection(ServerProtocol):
    """The library's protocol, with our words and bounds."""

    def __init__(self, max_size: int | None, deflates: bool, lend: Callable[[int], bool]):
        """
        Args:
            max_size: bytes of a message; None for any number.
            deflates: whether messages may be compressed.
            lend: asked for room for what a compressed frame may become.
        """
        most = None if max_size is None else (max_size, min(max_size, FRAME_BYTES))
        super().__init__(extensions=[DEFLATE] if deflates else [], max_size=most, logger=QUIET)
        self._lend = lend
        self._lacks_room = False

    def accept(self, request: Request) -> Response:
        response = super().accept(request)
        for each in self.extensions:
            if isinstance(each, PerMessageDeflate):
                each.__class__ = Deflate
                each.connection = self  # type: ignore[attr-defined]
        return response

    def decoded(self, decode: Callable[..., Frame], frame: Frame, most: int | None) -> Frame:
        """A compressed frame undone, where there is room for what it may become. Nobody can wait
        here; where there is none, what is small is let through.

        Raises:
            PayloadTooBig: it is larger than a frame may be, or than there is room for.
        """
        size = SWELLING * len(frame.data)
        size = size if most is None else min(size, most)
        if self._lend(size):
            return decode(frame, max_size=most)
        try:
            return decode(frame, max_size=FREE_BYTES)
        except PayloadTooBig:
            self._lacks_room = True
            raise

    def reject(self, status: Any, text: str) -> Response:
        response = super().reject(status, text)
        said = text.strip().partition("\n")[0]
        response.body = orjson.dumps({"error": said or "There is no WebSocket for you here."})
        for name, value in (
            ("Content-Length", str(len(response.body))),
            ("Content-Type", "application/json"),
        ):
            if name in response.headers:
                del response.headers[name]
            response.headers[name] = value
        return response

    def fail(self, code: Any, reason: str = "") -> None:
        if code == 1009 and self._lacks_room:
            code = BUSY
        elif code == 1009:
            reason = f"A message may have {self.max_message_size} bytes"
            if self.max_fragment_size != self.max_message_size:
                reason += f", {self.max_fragment_size} in a frame"
            reason += "; send less at once."
        super().fail(code, fit_reason(SENTENCES.get(code, reason)))


def fit_reason(reason: str) -> str:
    """A sentence that a close frame can hold."""
    encoded = reason.encode()
    if len(encoded) <= REASON_BYTES:
        return reason
    return encoded[: REASON_BYTES - 3].decode(errors="ignore") + "..."
