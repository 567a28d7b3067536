"""A multipart form with a file in it, read in memory and bounded. https://www.rfc-editor.org/rfc/rfc7578"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import AsyncGenerator
from functools import partial

from python_multipart.exceptions import FormParserError
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from ..errors import BadRequestError
from ..rest.body import read_body, room_of
from ..streams.room import Loan
from ..streams.turns import in_turns
from ..tensors.steps import COPIED_BYTES, gathered
from .errors import FieldError

MULTIPART = "multipart/form-data"
MOST_FIELDS = 100
# It would write to the log, outside of any form that this has, what the caller is told anyway.
logging.getLogger("python_multipart").setLevel(logging.ERROR)


class InMemory(MultiPartParser):
    """Starlette's, which would write a file of more than 1 MiB to the disk."""

    spool_max_size = sys.maxsize


async def read_form(request: Request, limit: int) -> tuple[FormData, int]:
    """A request's form, and how many bytes it was.

    Raises:
        BadRequestError: it is none.
        TooLargeError, ClientDisconnect: as `read_body`.
    """
    kind = request.headers.get("content-type", "")
    if kind.partition(";")[0].strip().lower() != MULTIPART:
        raise BadRequestError(f"This takes a form with a file in it; send it as {MULTIPART}.")
    with Loan(room_of(request).unpacked) as unpacked:
        body = await read_body(request, limit, unpacked)
        parser = InMemory(request.headers, _pieces(body), max_files=1, max_fields=MOST_FIELDS)
        try:
            return await parser.parse(), len(body)
        except (MultiPartException, FormParserError) as error:
            said = str(error).rstrip(".")
            raise BadRequestError(f"The form cannot be read: {said}.") from error


async def file_of(form: FormData) -> bytes:
    """The bytes of the form's field `file`.

    Raises:
        FieldError: there is no file, or nothing in it.
    """
    file = form.get("file")
    if not isinstance(file, UploadFile):
        raise FieldError("'file' must be a file, with a name, as forms have it.", "file")
    # All at once would be a copy that keeps everybody waiting.
    found = await in_turns(gathered(iter(partial(file.file.read, COPIED_BYTES), b"")))
    if not found:
        raise FieldError("'file' has nothing in it.", "file")
    return found


async def _pieces(body: bytes) -> AsyncGenerator[bytes, None]:
    """A body, with turns for others between its pieces."""
    for at in range(0, len(body), COPIED_BYTES):
        yield body[at : at + COPIED_BYTES]
        await asyncio.sleep(0)
