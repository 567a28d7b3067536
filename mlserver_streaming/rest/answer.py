"""A unary call's answer, sent within the call: who does not read it holds a slot, for a while."""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ..errors import MLServerError
from .http_protocol import ABORT

# Between two pieces the connection is waited for, and others have a turn; one alone goes out whole.
# To compress one takes 5 ms.
PIECE_BYTES = 256 * 1024


class AnswerResponse(Response):
    """A body that leaves in pieces, so that the idle limit sees whether its client takes them."""

    def __init__(
        self,
        parts: Sequence[bytes | memoryview],
        media_type: str,
        headers: Mapping[str, str],
        call: AsyncExitStack,
        touch: Callable[[], None],
    ):
        """
        Args:
            parts: of the body, which need not be there as one.
            call: the open call, closed when the last piece is on its way.
            touch: told of each piece.
        """
        length = {"content-length": str(sum(map(len, parts)))}
        super().__init__(media_type=media_type, headers={**headers, **length})
        self._parts = parts
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
                left = sum(map(len, self._parts))
                for piece in _pieces(self._parts):
                    left -= len(piece)
                    more = left > 0
                    await send({"type": "http.response.body", "body": piece, "more_body": more})
                    self._touch()
                    if more:
                        await asyncio.sleep(0)
        except MLServerError:
            # It was ended from outside, and cannot be told: its answer has begun.
            if extension := (scope.get("extensions") or {}).get(ABORT):
                extension["abort"]()
                await send({"type": "http.response.body", "body": b"", "more_body": True})


def _pieces(parts: Sequence[bytes | memoryview]) -> Iterator[bytes]:
    """The same bytes in pieces of a size that is good to send; at least one."""
    ready: list[bytes | memoryview] = []
    size = 0
    for part in parts:
        for at in range(0, len(part), PIECE_BYTES):
            ready.append(part[at : at + PIECE_BYTES])
            size += len(ready[-1])
            if size >= PIECE_BYTES:
                yield b"".join(ready)
                ready, size = [], 0
    if ready or not parts:
        yield b"".join(ready)
