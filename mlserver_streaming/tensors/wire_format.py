"""Protobuf's wire format, without any schema: fields found without copying them, and written.

https://protobuf.dev/programming-guides/encoding/
"""

from collections.abc import Iterator

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
SHORT = [bytes([value]) for value in range(0x80)]


class FieldsError(ValueError):
    """These bytes are not such fields."""


def fields(message: bytes | memoryview) -> Iterator[tuple[int, memoryview]]:
    """A message's fields: their numbers, and the bytes of those that have a length.

    Raises:
        FieldsError: it is no message, or ends too soon.
    """
    view = memoryview(message)
    for number, _, _, begin, end in bounds(message):
        yield number, view[begin:end]


def varint(value: int) -> bytes:
    """A number from 0 to 2**64 - 1 in protobuf's variable-length form."""
    if value <= 0x7F:  # most lengths
        return SHORT[value]
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)


def tag(field: int, kind: int) -> bytes:
    """The key that stands before a field's value; `kind` is the wire type."""
    return varint(field << 3 | kind)


def bounds(message: bytes | memoryview) -> Iterator[tuple[int, int, int, int, int]]:
    """Each field's number and wire type; where it starts, where its bytes begin, and its end."""
    at, end = 0, len(message)
    while at < end:
        start = at
        key, at = read_varint(message, at)
        kind, size = key & 7, 0
        if kind == VARINT:
            _, at = read_varint(message, at)
        elif kind == LENGTH:
            size, at = read_varint(message, at)
        elif kind in (FIXED64, FIXED32):
            size = 8 if kind == FIXED64 else 4
        else:
            raise FieldsError("it is no protobuf message.")
        if at + size > end:
            raise FieldsError("it is truncated.")
        yield key >> 3, kind, start, at, at + size
        at += size


def read_varint(message: bytes | memoryview, at: int) -> tuple[int, int]:
    """The number that begins at a place, and the place behind it.

    Raises:
        FieldsError: it does not end.
    """
    value = shift = 0
    while at < len(message) and shift < 64:
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise FieldsError("it is truncated.")
