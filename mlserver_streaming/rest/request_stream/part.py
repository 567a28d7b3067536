"""One part of a multipart body, as it comes. Pure."""

from __future__ import annotations

from io import BytesIO

from python_multipart.multipart import parse_options_header

from ...errors import BadRequestError
from .asked import check_size

JSON, PLAIN = b"application/json", b"text/plain"
MOST_FIELD_BYTES = 64 * 1024
# Of a length that anybody could mean.
MOST_DIGITS = 12


class Part:
    """A part, whose head comes first.

    Attributes:
        name: of the field of a form that it is, if it is plain text; None for all others.
        is_json: whether it is a request as JSON.
    """

    def __init__(self, limit: int):
        """
        Args:
            limit: bytes of its content.
        """
        self.name: str | None = None
        self.is_json = False
        self._limit = limit
        self._length: int | None = None
        self._headers: dict[bytes, bytes] = {}
        self._content = BytesIO()

    def header(self, name: bytes, value: bytes) -> None:
        self._headers[name.lower()] = value.strip()

    def head_ends(self) -> None:
        """
        Raises:
            BadRequestError: its Content-Length is none.
            TooLargeError: that is more than a part may have.
        """
        kind, _ = parse_options_header(self._headers.get(b"content-type"))
        disposition, named = parse_options_header(self._headers.get(b"content-disposition"))
        length = self._headers.get(b"content-length")
        if length is not None:
            if not length.isdigit() or len(length) > MOST_DIGITS:
                raise BadRequestError("The Content-Length of a part must be a number of bytes.")
            self._length = int(length)
            check_size(self._length, self._limit, "part of the body")
        self.is_json = kind.lower() == JSON
        is_text = kind.lower() in (b"", PLAIN) and b"filename" not in named
        if disposition == b"form-data" and is_text and not self.is_json:
            self.name = named.get(b"name", b"").decode(errors="replace")
            self._limit = min(self._limit, MOST_FIELD_BYTES)

    def add(self, data: bytes | memoryview) -> None:
        """
        Raises:
            BadRequestError: it is longer than it says.
            TooLargeError: it is longer than a part may be.
        """
        self._content.write(data)
        size = self.size
        if self._length is not None and size > self._length:
            raise BadRequestError(
                f"A part is longer than its Content-Length, {self._length} bytes; say how long it "
                "is, or leave that out, and begin a new line before each boundary."
            )
        check_size(size, self._limit, "part of the body")

    @property
    def size(self) -> int:
        """Bytes of what is here of its content."""
        return self._content.tell()

    @property
    def is_whole(self) -> bool:
        """Whether it is known that nothing more of it comes."""
        return self._length == self.size

    def taken(self) -> bytes:
        """Its content."""
        return self._content.getvalue()
