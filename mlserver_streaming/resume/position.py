"""Where a reader of a stream is: `<stream>.<n>`, n being the number of the last response it has."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass

from ..errors import BadRequestError, shown

# Nobody guesses one: 128 bits, 22 characters of base64.
ID_BYTES = 16
# Past any stream's length; a number with more digits takes long to read.
MAX_DIGITS = 15
STREAM_ID = "([A-Za-z0-9_-]{1,64})"
POSITION = re.compile(rf"{STREAM_ID}\.([0-9]{{1,{MAX_DIGITS}}})")
# A stream, by its id or by any place in it.
STREAM = re.compile(rf"{STREAM_ID}(?:\.[0-9]{{1,{MAX_DIGITS}}})?")


@dataclass(frozen=True, slots=True)
class Position:
    """
    Attributes:
        stream: the stream's id.
        after: the number of the last response that the reader has, from 1 on; 0 for none.
    """

    stream: str
    after: int = 0

    def __str__(self) -> str:
        return f"{self.stream}.{self.after}"

    @classmethod
    def read(cls, text: str) -> Position:
        """
        Raises:
            BadRequestError: the text is no position.
        """
        found = POSITION.fullmatch(text.strip())
        if found is None:
            raise BadRequestError(
                f"'{shown(text)}' is no place in a stream; send the id of the last response that "
                "you have, '<stream>.<number>'."
            )
        return cls(found[1], int(found[2]))


def new_id() -> str:
    """The id of a stream."""
    return secrets.token_urlsafe(ID_BYTES)
