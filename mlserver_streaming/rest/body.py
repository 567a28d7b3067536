"""Read a request's body, bounded, its compression undone."""

import zlib
from io import BytesIO

from starlette.requests import Request

from ..errors import BadRequestError, TooLargeError
from ..streams.turns import in_turns
from ..tensors.steps import COPIED_BYTES, READ_BYTES, Steps

# Also what gRPC messages are limited to: one frame, one tensor or one prompt is far below it.
MAX_BODY_BYTES = 64 * 1024 * 1024
# zlib's window bits for each coding; HTTP's "deflate" is zlib's format, not raw deflate.
# https://www.rfc-editor.org/rfc/rfc9110#section-8.4.1
CODINGS = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}

# Of a length that anybody could mean.
MOST_DIGITS = 20


async def read_body(request: Request, limit: int = MAX_BODY_BYTES) -> bytes:
    """The whole body.

    Raises:
        TooLargeError: it is larger than `limit` bytes, before or after decompression.
        BadRequestError: its compression is damaged, or it has an encoding we do not know.
        ClientDisconnect: the client went away.
    """
    too_large = TooLargeError(f"The request body is larger than {limit} bytes; send less at once.")
    declared = request.headers.get("content-length", "")
    # As many zeros may stand before it as a header is long: more digits than Python reads.
    if declared.isdecimal() and int(declared.lstrip("0")[:MOST_DIGITS] or 0) > limit:
        raise too_large
    # In place: a list of chunks, joined, is there twice.
    received = BytesIO()
    async for chunk in request.stream():
        received.write(chunk)
        if received.tell() > limit:
            raise too_large
    body = received.getvalue()
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding in ("", "identity"):
        return body
    if encoding not in CODINGS:
        raise BadRequestError(
            f"Content-Encoding '{encoding[:30]}' is not supported; send the body plain, gzip or "
            "deflate.",
            415,
        )
    return await in_turns(_inflated(body, encoding, limit, too_large))


def _inflated(body: bytes, encoding: str, limit: int, too_large: TooLargeError) -> Steps[bytes]:
    decompressor = zlib.decompressobj(CODINGS[encoding])
    plain = BytesIO()
    try:
        for at in range(0, len(body), READ_BYTES):
            # A piece of zeros may be a thousand times as long.
            left, written = body[at : at + READ_BYTES], COPIED_BYTES
            while (left or written == COPIED_BYTES) and not decompressor.eof:
                written = plain.write(decompressor.decompress(left, COPIED_BYTES))
                left = decompressor.unconsumed_tail
                if plain.tell() > limit:
                    raise too_large
                if plain.tell() >= COPIED_BYTES:
                    yield
    except zlib.error as error:
        raise BadRequestError(f"The request body is not valid {encoding}.") from error
    if not decompressor.eof:
        raise BadRequestError(f"The request body's {encoding} is cut off.")
    return plain.getvalue()
