"""Messages in a call's bytes: five bytes before each say whether it is packed, and how long. Pure.

Nothing is cut before somebody asks for it, so bytes that nobody reads cost no work.
"""

from __future__ import annotations

import struct
import zlib
from collections import deque
from collections.abc import Iterable
from typing import Any

import grpc

from ...streams.room import SWELLING
from ...tensors.steps import COPIED_BYTES, Steps, gathered
from .metadata import BadCallError

HEAD = struct.Struct(">?I")
HEAD_BYTES = HEAD.size
# Data that comes by the byte is gathered in pieces, which else had forty times its size.
CHUNK_BYTES = 4096
# zlib's names for the two packings. https://docs.python.org/3/library/zlib.html#zlib.decompressobj
WINDOW_BITS = {"gzip": 31, "deflate": 15}
INTERNAL, TOO_LARGE = grpc.StatusCode.INTERNAL, grpc.StatusCode.RESOURCE_EXHAUSTED


def framed(messages: Iterable[bytes]) -> list[bytes]:
    """Messages, each behind its head."""
    return [part for each in messages for part in (HEAD.pack(False, len(each)), each)]


def cut(chunks: deque[Any], size: int) -> list[bytes | memoryview]:
    """Take so many bytes, of those that there are, from the front of chunks."""
    parts: list[bytes | memoryview] = []
    while size:
        chunk = chunks.popleft()
        part = chunk if isinstance(chunk, bytes) else memoryview(chunk)
        if len(part) > size:
            view = memoryview(part)
            chunks.appendleft(view[size:])
            part = view[:size]
        parts.append(part)
        size -= len(part)
    return parts


class Inbox:
    """What has come of one call, and is not read yet.

    Args:
        limit: bytes of one message, unpacked too.
        encoding: how packed messages are: `identity`, `gzip`, `deflate`.

    Attributes:
        held: bytes in it.
        swelling: what the message that was taken last may become by its unpacking.
    """

    def __init__(self, limit: int, encoding: str):
        self.held = self.swelling = 0
        self._limit = limit
        self._encoding = encoding
        self._chunks: deque[bytes | bytearray | memoryview] = deque()
        self._head: tuple[bool, int] | None = None

    def put(self, data: bytes | memoryview) -> None:
        self.held += len(data)
        last = self._chunks[-1] if self._chunks else None
        if isinstance(last, bytearray) and len(last) < CHUNK_BYTES:
            last += data
        else:
            self._chunks.append(bytearray(data) if len(data) < CHUNK_BYTES // 8 else data)

    def take(self) -> Steps[bytes] | bytes | None:
        """The next message, a large or packed one in steps; None where it is not whole yet.

        Raises:
            BadCallError: it is larger than a message may be, or none; in a step, too.
        """
        if self._head is None:
            if self.held < HEAD_BYTES:
                return None
            head = b"".join(self._taken(HEAD_BYTES))
            packed, size = head[0], int.from_bytes(head[1:])
            if packed > 1:
                raise BadCallError(INTERNAL, "The call's bytes are no messages.")
            self._check(size)
            self._head = bool(packed), size
        packed, size = self._head
        if self.held < size:
            return None
        self._head = None
        parts = self._taken(size)
        self.swelling = min(SWELLING * size, self._limit) if packed else 0
        if packed:
            return self._unpacked(parts)
        if size > COPIED_BYTES:
            return gathered(parts)
        return bytes(parts[0]) if len(parts) == 1 else b"".join(parts)

    @property
    def lacking(self) -> int:
        """Bytes that are yet to come of the message that has begun."""
        return 0 if self._head is None else self._head[1] - self.held

    @property
    def coming(self) -> int:
        """Bytes of the message that has begun."""
        return 0 if self._head is None else self._head[1]

    @property
    def is_empty(self) -> bool:
        """Whether no message has begun."""
        return self._head is None and not self.held

    def clear(self) -> None:
        """Nobody reads it any more."""
        self.held, self._head = 0, None
        self._chunks.clear()

    def _check(self, size: int) -> None:
        if size > self._limit:
            raise BadCallError(
                TOO_LARGE, f"A message may have {self._limit} bytes, and this one has more."
            )

    def _taken(self, size: int) -> list[bytes | memoryview]:
        self.held -= size
        return cut(self._chunks, size)

    def _unpacked(self, parts: list[bytes | memoryview]) -> Steps[bytes]:
        if self._encoding not in WINDOW_BITS:
            raise BadCallError(INTERNAL, "A message is packed, and nothing says how.")
        reader = zlib.decompressobj(WINDOW_BITS[self._encoding])
        found, size = [], 0
        try:
            for part in parts:
                data: bytes | memoryview = part
                while data:
                    if reader.eof:
                        raise BadCallError(INTERNAL, "A packed message goes on after its end.")
                    found.append(reader.decompress(data, COPIED_BYTES))
                    size += len(found[-1])
                    self._check(size)
                    data = reader.unconsumed_tail
                    yield
            # What zlib holds back of a packing that is larger unpacked than one step.
            while not reader.eof and (more := reader.decompress(b"", COPIED_BYTES)):
                found.append(more)
                size += len(more)
                self._check(size)
                yield
        except zlib.error:
            raise BadCallError(INTERNAL, "A message cannot be unpacked.") from None
        if not reader.eof:
            raise BadCallError(INTERNAL, "A packed message ends early.")
        if reader.unused_data:
            raise BadCallError(INTERNAL, "A packed message goes on after its end.")
        return (yield from gathered(found))
