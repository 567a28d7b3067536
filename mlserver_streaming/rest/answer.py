"""A unary call's answer, sent within the call: who does not read it holds a slot, for a while."""

import asyncio
from collections.abc import Callable, Iterator, Sequence

from starlette.middleware.gzip import GZipMiddleware
from starlette.types import Receive, Scope, Send

from ..streams.headers import Field
from .cycles import Cycle
from .http_protocol import ABORT

# Responses are compressed on the event loop. For 1x3x640x640 numbers as JSON that takes 0.2 s; at
# level 9, which MLServer takes, every stream would stand still for 3.6 s and save a tenth.
GZIP_LEVEL = 1
# What is smaller is not worth its compressor: Starlette's own bound.
LEAST_COMPRESSED_BYTES = 500
# Between two pieces the connection is waited for, and others have a turn; one alone goes out whole.
# To compress one takes 5 ms.
PIECE_BYTES = 256 * 1024


def send_json_at_once(
    send: Send, parts: Sequence[bytes | memoryview], size: int, lines: bytes, gzip: bool
) -> bool:
    """Send a small body, unless there is anything to wait for or to do about it; whether it is.

    Args:
        size: of all its parts.
        lines: the headers as they are written, but for those that say what it is.
        gzip: compress what is not too small.
    """
    if size > PIECE_BYTES or (gzip and size >= LEAST_COMPRESSED_BYTES):
        return False
    cycle = getattr(send, "__self__", None)
    return isinstance(cycle, Cycle) and cycle.answer_json(lines, b"".join(parts))


async def send_answer(
    scope: Scope,
    receive: Receive,
    send: Send,
    parts: Sequence[bytes | memoryview],
    fields: list[Field],
    touch: Callable[[], None],
    gzip: bool = False,
) -> None:
    """Send a body in pieces, so that the idle limit sees whether its client takes them.

    Args:
        parts: of the body, which need not be there as one.
        fields: the headers but for Content-Length.
        touch: told of each piece.
        gzip: compress it where its client takes that, and it is not too small.
    """
    size = sum(map(len, parts))
    fields.append((b"content-length", b"%d" % size))
    if not gzip or size < LEAST_COMPRESSED_BYTES:
        # Where nobody wants to see what is sent, a middleware say, it need not be sent in messages.
        cycle = getattr(send, "__self__", None) if size <= PIECE_BYTES else None
        if isinstance(cycle, Cycle) and cycle.answer(fields, b"".join(parts)):
            return
        gzip = False

    async def sent(scope: Scope, receive: Receive, send: Send) -> None:
        left = size
        await send({"type": "http.response.start", "status": 200, "headers": fields})
        for piece in _pieces(parts):
            left -= len(piece)
            more = left > 0
            await send({"type": "http.response.body", "body": piece, "more_body": more})
            touch()
            if more:
                await asyncio.sleep(0)

    app = GZipMiddleware(sent, LEAST_COMPRESSED_BYTES, GZIP_LEVEL) if gzip else sent
    await app(scope, receive, send)


async def cut_off(scope: Scope, send: Send) -> None:
    """An answer was ended from outside, and its client cannot be told: it has begun."""
    if extension := (scope.get("extensions") or {}).get(ABORT):
        extension["abort"]()
        # Returns when the connection is gone; to leave before would be logged as a fault.
        await send({"type": "http.response.body", "body": b"", "more_body": True})


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
