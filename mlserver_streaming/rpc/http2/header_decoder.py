"""Headers read as HPACK has them; those of a call that are the last one's byte for byte, once.

https://www.rfc-editor.org/rfc/rfc7541#section-2.2. A client packs the same headers into the same
bytes once its table of headers has them. What bytes mean depends on that table alone, so what they
meant holds until it changes.
"""

from __future__ import annotations

from typing import Any

from hpack import Decoder

# Lists of headers that are remembered, each of so many bytes packed.
REMEMBERED, REMEMBERED_BYTES = 16, 512


class HeaderDecoder(Decoder):
    """In place of `hpack.Decoder`.

    A `content-length` is left out: for gRPC the messages' own lengths count, and for h2 a wrong one
    would be the end of the connection.
    """

    def __init__(self, most_bytes: int):
        """
        Args:
            most_bytes: of one list of headers, unpacked.
        """
        super().__init__(most_bytes)
        self._known: dict[bytes, list[Any]] = {}

    def decode(self, data: bytes, raw: bool = False) -> list[Any]:
        block = bytes(data)
        found = self._known.get(block)
        if found is None:
            before = self._table()
            found = [each for each in super().decode(block, raw) if each[0] != b"content-length"]
            after = self._table()
            if before[0] is not after[0] or before[1:] != after[1:]:
                self._known.clear()
            elif len(block) <= REMEMBERED_BYTES:
                if len(self._known) >= REMEMBERED:
                    self._known.clear()
                self._known[block] = found
        return found

    def _table(self) -> tuple[Any, int, int]:
        """What differs once the table has changed: whatever comes stands at its front, as a new
        object."""
        entries: Any = self.header_table.dynamic_entries
        return entries[0] if entries else None, len(entries), self.header_table.maxsize
