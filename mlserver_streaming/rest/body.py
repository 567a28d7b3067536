"""Read a request's body, bounded, its compression undone."""

import zlib
from collections.abc import Awaitable
from io import BytesIO
from typing import TypeVar

from starlette.requests import Request

from ..errors import BadRequestError, TooLargeError
from ..settings import LimitSettings
from ..streams.room import FREE_BYTES, SWELLING, Loan, RequestRoom
from ..streams.turns import in_turns
from ..tensors.steps import COPIED_BYTES, READ_BYTES, Steps
from .cycles import answer_to
from .hang_up import unless_hung_up

T = TypeVar("T")

# Also what gRPC messages are limited to: one frame, one tensor or one prompt is far below it.
MAX_BODY_BYTES = 64 * 1024 * 1024
# zlib's window bits for each coding; HTTP's "deflate" is zlib's format, not raw deflate.
# https://www.rfc-editor.org/rfc/rfc9110#section-8.4.1
CODINGS = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
# What each member of gzip begins with.
GZIP = b"\x1f\x8b"
# Of a member at first: what lies behind a short one is copied.
FIRST_BYTES = 1024

# Of a length that anybody could mean.
MOST_DIGITS = 20


async def read_body(
    request: Request, limit: int = MAX_BODY_BYTES, unpacked: Loan | None = None
) -> bytes:
    """The whole body.

    Args:
        unpacked: what is lent of the room for bodies that are unpacked, until what this one became
            is read; by default it is given back at once.

    Raises:
        TooLargeError: it is larger than `limit` bytes, before or after decompression.
        BadRequestError: its compression is damaged, or it has an encoding we do not know.
        BusyError: there is no room for it among the others that come.
        ClientDisconnect: the client went away.
    """
    declared = request.headers.get("content-length", "")
    # As many zeros may stand before it as a header is long: more digits than Python reads.
    size = int(declared.lstrip("0")[:MOST_DIGITS] or 0) if declared.isdecimal() else 0
    if size > limit:
        raise _too_large(limit)
    answering = answer_to(request.scope)
    body = answering.take_body() if answering is not None else None
    if body is not None and len(body) > limit:
        raise _too_large(limit)
    encoding = coding_of(request)
    if body is not None and encoding is None:
        return body
    loan = Loan(room_of(request).unread)
    try:
        if body is None:
            body = await _received(request, limit, size, loan)
        if encoding is None:
            return body
        return await _unpacked(request, body, encoding, limit, unpacked)
    finally:
        # Those that wait to be unpacked are not read either.
        loan.give_back()


def room_of(request: Request) -> RequestRoom:
    """What requests may have until they are whole."""
    answering = answer_to(request.scope)
    return RequestRoom(LimitSettings()) if answering is None else answering.room


async def _received(request: Request, limit: int, size: int, loan: Loan) -> bytes:
    """A body as it comes.

    Args:
        size: what it says of itself; 0 where it does not.
    """
    # In place: a list of chunks, joined, is there twice.
    received = BytesIO()
    if size > FREE_BYTES:
        await _borrow(request, loan, size)
    async for chunk in request.stream():
        received.write(chunk)
        held = received.tell()
        if held > limit:
            raise _too_large(limit)
        await _borrow(request, loan, loan.wanted(held, limit))
    return received.getvalue()


async def _unpacked(
    request: Request, body: bytes, encoding: str, limit: int, loan: Loan | None
) -> bytes:
    own = loan or Loan(room_of(request).unpacked)
    try:
        await _borrow(request, own, min(SWELLING * len(body), limit))
        plain = await _while_here(request, in_turns(_inflated(body, encoding, limit)))
        own.keep(len(plain))
        return plain
    finally:
        if loan is None:
            own.give_back()


async def _borrow(request: Request, loan: Loan, size: int) -> None:
    """Have so much in all lent, for as long as there is somebody who waits for it."""
    if not loan.lend(size):
        await _while_here(request, loan.borrow(size))


async def _while_here(request: Request, work: Awaitable[T]) -> T:
    if answer_to(request.scope) is None:  # another server's, which tells behind a body only
        return await work
    return await unless_hung_up(request.receive, work, request.scope)


def is_here(request: Request) -> bool:
    """Whether a body is read without a turn for others."""
    answering = answer_to(request.scope)
    has_come = answering is not None and answering.has_body
    return has_come and "content-encoding" not in request.headers


def _too_large(limit: int) -> TooLargeError:
    return TooLargeError(f"The request body is larger than {limit} bytes; send less at once.")


def coding_of(request: Request) -> str | None:
    """The one coding of a body; None where it is plain."""
    if "content-encoding" not in request.headers:
        return None
    named = ",".join(request.headers.getlist("content-encoding")).lower()
    codings = [each for part in named.split(",") if (each := part.strip()) not in ("", "identity")]
    if not codings:
        return None
    if codings == ["x-gzip"]:  # https://www.rfc-editor.org/rfc/rfc9110#section-8.4.1.3
        return "gzip"
    if len(codings) == 1 and codings[0] in CODINGS:
        return codings[0]
    raise BadRequestError(
        f"Content-Encoding '{', '.join(codings)[:30]}' is not supported; send the body plain, or "
        "once encoded as gzip or deflate.",
        415,
    )


def _inflated(body: bytes, encoding: str, limit: int) -> Steps[bytes]:
    """Gzip may have members, one after another (RFC 1952, 2.2); what they hold is one body."""
    whole, plain, read = memoryview(body), BytesIO(), 0
    try:
        while True:
            member, size = zlib.decompressobj(CODINGS[encoding]), FIRST_BYTES
            while not member.eof:
                piece = whole[read : read + size]
                # A piece of zeros may be a thousand times as long.
                written = plain.write(member.decompress(piece, COPIED_BYTES))
                read += len(piece) - len(member.unconsumed_tail) - len(member.unused_data)
                size = READ_BYTES
                if plain.tell() > limit:
                    raise _too_large(limit)
                if not piece and not written and not member.eof:
                    raise BadRequestError(f"The request body's {encoding} is cut off.")
                if plain.tell() >= COPIED_BYTES:
                    yield
            if read == len(body):
                return plain.getvalue()
            if encoding != "gzip" or whole[read : read + 2] != GZIP[: len(body) - read]:
                raise BadRequestError(f"The request body goes on after the end of its {encoding}.")
            # They may be empty, and very many.
            yield
    except zlib.error as error:
        raise BadRequestError(f"The request body is not valid {encoding}.") from error
