"""A unary call's answer, sent within the call: who does not read it holds a slot, for a while."""

from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ..errors import MLServerError
from .http_server import ABORT

# Between two pieces the connection is waited for; one alone goes out whole.
PIECE_BYTES = 256 * 1024


class AnswerResponse(Response):
    """A body that leaves in pieces, so that the idle limit sees whether its client takes them."""

    def __init__(
        self,
        body: bytes,
        media_type: str,
        headers: Mapping[str, str],
        call: AsyncExitStack,
        touch: Callable[[], None],
    ):
        """
        Args:
            call: the open call, closed when the last piece is on its way.
            touch: told of each piece.
        """
        super().__init__(body, media_type=media_type, headers=headers)
        self._call = call
        self._touch = touch

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with self._call:
                await send(
                    {
                        "type": "http.response.start",
                        "status": self.status_code,
                        "headers": self.raw_headers,
                    }
                )
                for at in range(0, len(self.body) or 1, PIECE_BYTES):
                    piece, last = self.body[at : at + PIECE_BYTES], at + PIECE_BYTES
                    more = last < len(self.body)
                    await send({"type": "http.response.body", "body": piece, "more_body": more})
                    self._touch()
        except MLServerError:
            # It was ended from outside, and cannot be told: its answer has begun.
            if extension := (scope.get("extensions") or {}).get(ABORT):
                extension["abort"]()
                await send({"type": "http.response.body", "body": b"", "more_body": True})
