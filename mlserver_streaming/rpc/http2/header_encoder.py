"""Headers as HPACK has them, without its table of those sent before.

https://www.rfc-editor.org/rfc/rfc7541#section-6.2.2. The table saves some hundred bytes a call, and
costs a search for each header. Without it a header's bytes are always the same, so those of headers
that come again and again are made once.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

STATUS_200 = b"\x88"
# Headers that are remembered, each up to so many bytes.
REMEMBERED, REMEMBERED_BYTES = 1024, 128


class HeaderEncoder:
    """In place of `hpack.Encoder`. `header_table_size` is what the client would remember."""

    header_table_size = 4096

    def encode(self, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
        return b"".join(
            [
                known(*header)
                if len(header[0]) + len(header[1]) < REMEMBERED_BYTES
                else literal(*header)
                for header in headers
            ]
        )


def literal(name: bytes, value: bytes) -> bytes:
    if name == b":status" and value == b"200":
        return STATUS_200
    return b"\0%b%b%b%b" % (_length(name), name, _length(value), value)


known = lru_cache(REMEMBERED)(literal)


def _length(text: bytes) -> bytes:
    """How long a string is: https://www.rfc-editor.org/rfc/rfc7541#section-5.1"""
    left = len(text)
    if left < 127:
        return bytes((left,))
    found, left = bytearray(b"\x7f"), left - 127
    while left >= 128:
        found.append(left % 128 + 128)
        left //= 128
    found.append(left)
    return bytes(found)
