"""A compressed body that comes in pieces, undone as it comes."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from ...errors import BadRequestError
from ...tensors.steps import COPIED_BYTES
from ..body import CODINGS


class Inflating:
    """What a sender has flushed through its compressor is there at once.

    Gzip may have members, one after another (RFC 1952, 2.2); what they hold is one body.
    """

    def __init__(self, coding: str):
        """
        Args:
            coding: of CODINGS.
        """
        self._coding = coding
        self._member = zlib.decompressobj(CODINGS[coding])
        self._begun = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """What `data` holds, in pieces of a bounded size: it may be a thousand times as long.

        Raises:
            BadRequestError: it is damaged.
        """
        while data:
            if self._member.eof:
                if self._coding != "gzip":
                    raise BadRequestError(
                        f"The request body goes on after the end of its {self._coding}."
                    )
                self._member = zlib.decompressobj(CODINGS[self._coding])
            self._begun = True
            try:
                piece = self._member.decompress(data, COPIED_BYTES)
                while piece:
                    yield piece
                    piece = self._member.decompress(self._member.unconsumed_tail, COPIED_BYTES)
            except zlib.error as error:
                raise BadRequestError(f"The request body is not valid {self._coding}.") from error
            data = self._member.unused_data

    def end(self) -> None:
        """
        Raises:
            BadRequestError: it is cut off.
        """
        if self._begun and not self._member.eof:
            raise BadRequestError(f"The request body's {self._coding} is cut off.")
