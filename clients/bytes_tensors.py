"""The elements of a BYTES tensor as raw contents have them, over either protocol."""

from __future__ import annotations

from collections.abc import Iterable

from .errors import ProtocolError

# Each element stands behind its length, a little-endian uint32.
# https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_grpc.md
_LENGTH_BYTES = 4


def pack(elements: Iterable[bytes]) -> bytes:
    """The raw contents of a tensor with these elements."""
    return b"".join(len(each).to_bytes(_LENGTH_BYTES, "little") + each for each in elements)


def unpack(raw: bytes, tensor: str) -> list[bytes]:
    """The elements; raises ProtocolError when `tensor` is shorter than it says."""
    found, at = [], 0
    while at < len(raw):
        begin = at + _LENGTH_BYTES
        at = begin + int.from_bytes(raw[at:begin], "little")
        if max(begin, at) > len(raw):
            raise ProtocolError(f"output '{tensor}' is shorter than it says")
        found.append(raw[begin:at])
    return found
