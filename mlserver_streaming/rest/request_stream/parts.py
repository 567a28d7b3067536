"""Multipart bodies: a request a part, as cameras (`multipart/x-mixed-replace`) and forms send.

- A part of `application/json` is a request.
- A field of a form that is plain text is a request parameter of the parts that follow it. JSON's
  numbers, true and false are read as such. `id`, `sequence_start` and `sequence_end` are of the
  next part alone.
- Any other part is the one element of a BYTES tensor.

https://www.rfc-editor.org/rfc/rfc2046#section-5.1 and https://www.rfc-editor.org/rfc/rfc7578
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import orjson
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from ...errors import BadRequestError, MLServerError, TooLargeError
from .asked import Asked
from .part import Part

REPLACED, FORM = "multipart/x-mixed-replace", "multipart/form-data"
MEDIA_TYPES = (REPLACED, FORM)
MOST_BOUNDARY_BYTES = 70  # RFC 2046, 5.1.1
MOST_FIELDS = 100
# Fields that are of one request only.
ONCE = ("id", "sequence_start", "sequence_end")
# It would write to the log, outside of any form that this has, what the caller is told anyway.
logging.getLogger("python_multipart").setLevel(logging.ERROR)


class Parts:
    """Cuts the parts of a body. One that says its Content-Length is there with its last byte, and
    does not wait for the boundary behind it, which a camera sends with its next frame."""

    def __init__(self, content_type: str, limit: int):
        """
        Args:
            content_type: the body's.
            limit: bytes of a part.

        Raises:
            BadRequestError: it names no boundary.
        """
        _, options = parse_options_header(content_type)
        self._boundary = options.get(b"boundary", b"")
        if not 0 < len(self._boundary) <= MOST_BOUNDARY_BYTES:
            raise BadRequestError(
                "The Content-Type of a multipart body must say its 'boundary', of 1 to "
                f"{MOST_BOUNDARY_BYTES} characters."
            )
        self.limit = limit
        self._parser: MultipartParser | None = None
        self._start = b""
        self._part = Part(limit)
        self._is_taken = self._is_over = False
        self._name = self._value = b""
        self._fields: dict[str, Any] = {}
        self._ready: list[Asked] = []

    @property
    def held(self) -> int:
        kept = sum(len(value) for value in self._fields.values() if isinstance(value, str))
        return kept if self._is_taken else kept + self._part.size

    def feed(self, data: bytes) -> Iterator[Asked]:
        if self._parser is None:
            self._start = data = (self._start + data).lstrip(b"\r\n")
            if len(data) < len(self._boundary) + 2:
                return
            self._parser = self._parser_of(data)
            self._start = b""
        fault: MLServerError | None = None
        try:
            self._parser.write(data)
        except FormParserError as error:
            said = str(error).rstrip(".")
            fault = BadRequestError(f"The multipart body cannot be read: {said}.")
        except MLServerError as error:
            fault = error
        # What came before a fault is as good as if there were none.
        ready, self._ready = self._ready, []
        yield from ready
        if fault is not None:
            raise fault

    def clear(self) -> None:
        self._part, self._ready, self._fields = Part(self.limit), [], {}

    def end(self) -> Iterator[Asked]:
        if not self._is_over:
            raise BadRequestError(
                "The multipart body is cut off: behind its last part must stand the boundary and "
                "'--'."
            )
        yield from ()

    def _parser_of(self, start: bytes) -> MultipartParser:
        boundary = self._boundary
        # Cameras name it together with the dashes that stand before it.
        if boundary.startswith(b"--") and not start.startswith(b"--" + boundary):
            boundary = boundary[2:]
        return MultipartParser(
            boundary,
            {
                "on_part_begin": self._part_begins,
                "on_header_field": self._name_comes,
                "on_header_value": self._value_comes,
                "on_header_end": self._header_ends,
                "on_headers_finished": self._head_ends,
                "on_part_data": self._data_come,
                "on_part_end": self._part_ends,
                "on_end": self._body_ends,
            },
        )

    def _part_begins(self) -> None:
        self._part, self._is_taken = Part(self.limit), False

    def _name_comes(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _value_comes(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_ends(self) -> None:
        self._part.header(self._name, self._value)
        self._name = self._value = b""

    def _head_ends(self) -> None:
        self._part.head_ends()
        self._take_if_whole()

    def _data_come(self, data: bytes, start: int, end: int) -> None:
        self._part.add(memoryview(data)[start:end])
        self._take_if_whole()

    def _part_ends(self) -> None:
        if not self._is_taken:
            self._take()

    def _body_ends(self) -> None:
        self._is_over = True

    def _take_if_whole(self) -> None:
        if self._part.is_whole and not self._is_taken:
            self._take()

    def _take(self) -> None:
        self._is_taken = True
        part, fields = self._part, self._fields
        if part.name is None:
            self._ready.append(Asked(part.taken(), part.is_json, fields))
            if any(name in fields for name in ONCE):
                self._fields = {name: fields[name] for name in fields if name not in ONCE}
            return
        # Another: those that were told of in a request stay as they are.
        self._fields = fields | {part.name: _value(part.taken())}
        if len(self._fields) > MOST_FIELDS:
            raise TooLargeError(f"The form has more than {MOST_FIELDS} fields.")


def _value(text: bytes) -> Any:
    """A field's: a number, true or false where it is one, else its text."""
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        found = None
    if isinstance(found, int | float):
        return found
    try:
        return text.decode()
    except UnicodeDecodeError as error:
        raise BadRequestError("A field of the form is not UTF-8 text.", 422) from error
