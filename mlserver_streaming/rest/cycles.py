"""Answers that end their connections: uvicorn's own, told when they must."""

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


class RefusingCycle(RequestResponseCycle):
    """An answer to who waits for `100 Continue`: without one, nobody knows what it will send next.

    Its body, or another request that would be taken for the body; RFC 9110, 10.1.1 allows for both.
    """

    async def send(self, message: Any) -> None:
        if self.waiting_for_100_continue:
            self.keep_alive = False
        await super().send(message)
