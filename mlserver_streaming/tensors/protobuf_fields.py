"""The outer form of protobuf messages: numbered fields, without any schema.

https://protobuf.dev/programming-guides/encoding/
"""

from collections.abc import Iterator

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5


class FieldsError(ValueError):
    """These bytes are not such fields."""


def fields(message: bytes) -> Iterator[tuple[int, memoryview]]:
    """A message's fields: their numbers, and the bytes of those that have a length.

    Raises:
        FieldsError: it is no message, or ends too soon.
    """
    view, at = memoryview(message), 0
    while at < len(view):
        key, at = _read_varint(view, at)
        kind, size = key & 7, 0
        if kind == VARINT:
            _, at = _read_varint(view, at)
        elif kind == LENGTH:
            size, at = _read_varint(view, at)
        elif kind in (FIXED64, FIXED32):
            size = 8 if kind == FIXED64 else 4
        else:
            raise FieldsError("it is no protobuf message.")
        if at + size > len(view):
            raise FieldsError("it is truncated.")
        yield key >> 3, view[at : at + size]
        at += size


def tag(number: int, kind: int) -> bytes:
    """What stands before a field's value."""
    return varint(number << 3 | kind)


def varint(value: int) -> bytes:
    """A number that is not negative, seven bits a byte."""
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _read_varint(view: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(view) and shift < 64:
        byte = view[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise FieldsError("it is truncated.")
