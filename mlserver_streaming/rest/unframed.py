"""HTTP/1.0, which knows no chunks: a body of unknown length ends with its connection."""

from typing import Any

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle


class UnframedCycle(RequestResponseCycle):
    """An answer to HTTP/1.0, which knows no chunks: one of unknown length ends with its connection.

    https://www.rfc-editor.org/rfc/rfc9112#section-6.1
    """

    _is_framed = True

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self._is_framed = any(
                name.lower() == b"content-length" for name, _ in message["headers"]
            )
            if not self._is_framed:
                self.chunked_encoding = False
        elif not self._is_framed:
            self.expected_content_length = len(message.get("body", b""))
        await super().send(message)
