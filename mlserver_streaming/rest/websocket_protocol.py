"""RFC 6455: uvicorn's protocol, with bounds of our own."""

from __future__ import annotations

from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """One connection that has been upgraded."""

    def __init__(self, *arguments: Any, **named: Any):
        super().__init__(*arguments, **named)
