"""Read a request's body, bounded, its compression undone."""

import zlib

from starlette.requests import Request

from ..errors import BadRequestError, TooLargeError

# Also what gRPC messages are limited to: one frame, one tensor or one prompt is far below it.
MAX_BODY_BYTES = 64 * 1024 * 1024
# zlib's window bits for each coding; HTTP's "deflate" is zlib's format, not raw deflate.
# https://www.rfc-editor.org/rfc/rfc9110#section-8.4.1
CODINGS = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}


async def read_body(request: Request, limit: int = MAX_BODY_BYTES) -> bytes:
    """The whole body.

    Raises:
        TooLargeError: it is larger than `limit` bytes, before or after decompression.
        BadRequestError: its compression is damaged, or it has an encoding we do not know.
        ClientDisconnect: the client went away.
    """
    too_large = TooLargeError(f"The request body is larger than {limit} bytes; send less at once.")
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limit:
        raise too_large
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            raise too_large
        chunks.append(chunk)
    body = b"".join(chunks)
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding in ("", "identity"):
        return body
    if encoding not in CODINGS:
        raise BadRequestError(
            f"Content-Encoding '{encoding[:30]}' is not supported; send the body plain, gzip or "
            "deflate.",
            415,
        )
    decompressor = zlib.decompressobj(CODINGS[encoding])
    try:
        plain = decompressor.decompress(body, limit)
    except zlib.error as error:
        raise BadRequestError(f"The request body is not valid {encoding}.") from error
    if decompressor.unconsumed_tail:
        raise too_large
    if not decompressor.eof:
        raise BadRequestError(f"The request body's {encoding} is cut off.")
    return plain
