"""A unary call's answer, sent within the call: who does not read it holds a slot, for a while."""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache

from starlette.types import Scope, Send

from ..streams.headers import KEPT_NAMES
from .http_protocol import ABORT

# Between two pieces the connection is waited for, and others have a turn; one alone goes out whole.
# To compress one takes 5 ms.
PIECE_BYTES = 256 * 1024


async def send_answer(
    send: Send,
    parts: Sequence[bytes | memoryview],
    media_type: str,
    headers: Mapping[str, str],
    touch: Callable[[], None],
) -> None:
    """Send a body in pieces, so that the idle limit sees whether its client takes them.

    Args:
        parts: of the body, which need not be there as one.
        touch: told of each piece.
    """
    left = sum(map(len, parts))
    fields = [(b"content-type", media_type.encode()), (b"content-length", b"%d" % left)]
    fields += [(_name(name), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": 200, "headers": fields})
    for piece in _pieces(parts):
        left -= len(piece)
        more = left > 0
        await send({"type": "http.response.body", "body": piece, "more_body": more})
        touch()
        if more:
            await asyncio.sleep(0)


async def cut_off(scope: Scope, send: Send) -> None:
    """An answer was ended from outside, and its client cannot be told: it has begun."""
    if extension := (scope.get("extensions") or {}).get(ABORT):
        extension["abort"]()
        # Returns when the connection is gone; to leave before would be logged as a fault.
        await send({"type": "http.response.body", "body": b"", "more_body": True})


@lru_cache(KEPT_NAMES)
def _name(name: str) -> bytes:
    return name.lower().encode("latin-1")


def _pieces(parts: Sequence[bytes | memoryview]) -> Iterator[bytes]:
    """The same bytes in pieces of a size that is good to send; at least one."""
    if len(parts) == 1 and len(parts[0]) <= PIECE_BYTES:
        yield bytes(parts[0])
        return
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
