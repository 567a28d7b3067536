"""The `Ce-*` headers (CloudEvents) of a model's requests and responses: all the same but the id.

MLServer makes them anew for each, as the parameters of a response, of which the edges take them out
again.
"""

from collections.abc import Callable
from typing import Any

from mlserver.types import InferenceRequest, InferenceResponse

from .headers import MAX_HEADER_CHARACTERS, Field, fields_of, headers_of, lines_of, printable

# With the longest of their names.
MAX_ID_CHARACTERS = MAX_HEADER_CHARACTERS - len("Ce-Requestid")
# In place of an id.
PLACE = "00000000-0000-4000-8000-000000000000"


class EventHeaders:
    """One model's."""

    __slots__ = ("_request", "_response")

    def __init__(
        self,
        add_to_request: Callable[[InferenceRequest], Any],
        add_to_response: Callable[[InferenceResponse], Any],
    ):
        """
        Args:
            add_to_request, add_to_response: as MLServer's middleware does it, for this model.
        """
        request = InferenceRequest(id=PLACE, inputs=[])
        add_to_request(request)
        found = request.parameters.headers if request.parameters is not None else None
        self._request = _Template(dict(found or {}))
        response = InferenceResponse(id=PLACE, model_name="", outputs=[])
        add_to_response(response)
        self._response = _Template(headers_of(response))

    def of_request(self, request_id: str) -> dict[str, str]:
        """What a request's headers get."""
        return self._request.filled(request_id)

    def of_response(self, request_id: str) -> dict[str, str]:
        """What a response's headers get."""
        return self._response.filled(request_id)

    def fields_of_response(self, request_id: str) -> list[Field]:
        """What leaves with a response, as HTTP has it; an id that is too long for a header does
        not."""
        return self._response.fields(request_id)

    def lines_of_response(self, request_id: str) -> bytes:
        """The same as they are written over HTTP."""
        return self._response.lines(request_id)

    def metadata_of_response(self, request_id: str) -> list[tuple[str, str]]:
        """The same as gRPC has them; it takes ASCII only."""
        return self._response.metadata(request_id)


class _Template:
    __slots__ = ("_fields", "_id_fields", "_ids", "_lines", "_metadata", "_said")

    def __init__(self, headers: dict[str, str]):
        self._said = headers
        self._ids = [name for name, value in headers.items() if value == PLACE]
        self._fields = fields_of({n: v for n, v in headers.items() if n not in self._ids})
        self._metadata = [(name.decode(), value.decode()) for name, value in self._fields]
        self._lines = lines_of(self._fields)
        self._id_fields = [name.lower().encode() for name in self._ids]

    def filled(self, request_id: str) -> dict[str, str]:
        found = self._said.copy()
        for name in self._ids:
            found[name] = request_id
        return found

    def fields(self, request_id: str) -> list[Field]:
        """As HTTP has them, without an id that is too long for a header."""
        found = self._fields.copy()
        if len(request_id) <= MAX_ID_CHARACTERS:
            written = printable(request_id).encode()
            found += [(name, written) for name in self._id_fields]
        return found

    def lines(self, request_id: str) -> bytes:
        """As they are written, without an id that is too long for a header."""
        if len(request_id) > MAX_ID_CHARACTERS:
            return self._lines
        written = printable(request_id).encode()
        return self._lines + b"".join([b"%b: %b\r\n" % (name, written) for name in self._id_fields])

    def metadata(self, request_id: str) -> list[tuple[str, str]]:
        """The same as gRPC has them."""
        found = self._metadata.copy()
        fits = len(request_id) <= MAX_ID_CHARACTERS
        if fits and request_id.isascii() and request_id.isprintable():
            found += [(name.lower(), request_id) for name in self._ids]
        return found
