"""What a client's message says, as far as that is told without knowing its model."""

from __future__ import annotations

from typing import Any, NamedTuple

from ..errors import BadRequestError
from ..settings import LimitSettings
from ..tensors.json_pieces import Rows
from ..tensors.json_requests import parse
from ..tensors.steps import Steps
from .forms import LENGTH

# Beside those of an InferenceRequest, or of the flat form, at the top.
MODEL_NAME, MODEL_VERSION, OWN_STREAM = "model_name", "model_version", "own_stream"
END, CANCEL, RESUME = "end", "cancel", "resume"


class Asked(NamedTuple):
    """A message.

    Attributes:
        parsed: its JSON object; the keys above are taken out of that of a request.
        rows: what is not read of it yet.
        tail: the bytes behind it.
    """

    parsed: dict[str, Any]
    rows: dict[str, Rows]
    tail: memoryview

    @property
    def id(self) -> str:
        """A request's id, as far as there is one."""
        found = self.parsed.get("id")
        return found if isinstance(found, str) else ""

    @property
    def is_end(self) -> bool:
        """Whether it says that no more requests come."""
        return self.parsed.keys() == {END} and self.parsed[END] is True

    @property
    def cancelled(self) -> str | None:
        """The id of the request that it cancels.

        Raises:
            BadRequestError: that is no id.
        """
        if self.parsed.keys() != {CANCEL}:
            return None
        found = self.parsed[CANCEL]
        if not isinstance(found, str):
            raise BadRequestError("Field 'cancel' must be the id of a request.")
        return found

    @property
    def resumed(self) -> str | None:
        """The place in a stream behind which it is to be read on.

        Raises:
            BadRequestError: that is no text.
        """
        if RESUME not in self.parsed or self.parsed.keys() - {RESUME, "id"}:
            return None
        if not all(isinstance(value, str) for value in self.parsed.values()):
            raise BadRequestError(
                "Field 'resume' must be the id of the last response that you have, "
                "'<stream>.<number>', and 'id' a text that names the rest."
            )
        found: str = self.parsed[RESUME]
        return found

    def take(self, name: str, kind: type, what: str) -> Any:
        """Take a key out; None where it is not there.

        Args:
            what: what it must be, in words.

        Raises:
            BadRequestError: it is something else.
        """
        found = self.parsed.pop(name, None)
        if found is not None and not isinstance(found, kind):
            raise BadRequestError(f"Field '{name}' must be {what}.")
        return found


def read_message(data: bytes, is_text: bool, limits: LimitSettings) -> Steps[Asked]:
    """
    Raises:
        BadRequestError: it holds no JSON object.
        TooLargeError: there is more in it than `limits` allow.
    """
    tail = memoryview(b"")
    if not is_text:
        data, tail = _split(data)
    parsed, rows = yield from parse(data, limits)
    return Asked(parsed, rows, tail)


def _split(data: bytes) -> tuple[bytes, memoryview]:
    """The JSON of a binary message, and the bytes behind it."""
    if len(data) >= LENGTH.size:
        (length,) = LENGTH.unpack_from(data)
        end = LENGTH.size + length
        if length > 0 and end <= len(data):
            return data[LENGTH.size : end], memoryview(data)[end:]
    raise BadRequestError(
        "A binary message begins with the length of its JSON: four bytes, little-endian; then "
        "comes the JSON, and then the tensors' bytes."
    )
