"""Protobuf's wire format, as far as finding large fields without copying them needs it.

https://protobuf.dev/programming-guides/encoding/
"""

SHORT = [bytes([value]) for value in range(0x80)]


def split_raw(message: bytes, field: int) -> tuple[bytes, list[memoryview]]:
    """Take one bytes field out of a serialised message, without copying it.

    Returns:
        the message without the field, and a view of each of its values.

    Raises:
        ValueError: not a well-formed message.
    """
    view = memoryview(message)
    kept: list[memoryview] = []
    found: list[memoryview] = []
    at, end = 0, len(message)
    while at < end:
        start = at
        key, at = _read_varint(message, at)
        kind = key & 7
        if kind == 0:
            _, at = _read_varint(message, at)
        elif kind == 1:
            at += 8
        elif kind == 2:
            size, at = _read_varint(message, at)
            if key >> 3 == field:
                found.append(view[at : at + size])
                start = at + size
            at += size
        elif kind == 5:
            at += 4
        else:
            raise ValueError(f"wire type {kind}")
        if at > end:
            raise ValueError("a field overruns the message")
        kept.append(view[start:at])
    return b"".join(kept), found


def _read_varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while shift < 64:
        if at >= len(message):
            raise ValueError("the message ends inside a number")
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise ValueError("a number is too long")


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
