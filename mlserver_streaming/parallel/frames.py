"""Messages <-> frames on the socket between the service and a worker. Pure.

A frame is HEAD (the length of what follows it, the pickle's length, the number of buffers), each
buffer's length, the pickle of a list of messages, and the buffers: the raw memory of large arrays,
which pickle protocol 5 leaves out (https://peps.python.org/pep-0574/). Only processes of this
service are at the ends of such a socket.
"""

import pickle
import struct
from typing import Any

import numpy as np

Buffer = bytes | memoryview

HEAD = struct.Struct("<QII")
LENGTH = struct.Struct("<Q")
# Where a buffer may begin, counted from the end of HEAD: numpy wants elements at their own size.
ALIGNMENT = 16
# An array smaller than this costs less inside the pickle.
LARGE_BYTES = 16 * 1024
# What is read at once. Frames that are larger get memory of their own.
STAGE_BYTES = 256 * 1024


def encode(messages: list[Any]) -> list[Buffer]:
    """The frame that carries these messages, in parts.

    Raises:
        Exception: something in them cannot be pickled.
    """
    buffers: list[memoryview] = []

    def stays(buffer: pickle.PickleBuffer) -> bool:
        raw = buffer.raw()
        if raw.nbytes < LARGE_BYTES:
            return True
        buffers.append(raw)
        return False

    text = pickle.dumps(messages, 5, buffer_callback=stays)
    if not buffers:
        return [HEAD.pack(len(text), len(text), 0) + text]
    lengths = b"".join(LENGTH.pack(buffer.nbytes) for buffer in buffers)
    parts: list[Buffer] = [lengths, text]
    at = len(lengths) + len(text)
    for buffer in buffers:
        gap = -at % ALIGNMENT
        parts += [bytes(gap), buffer]
        at += gap + buffer.nbytes
    return [HEAD.pack(at, len(text), len(buffers)), *parts]


class FrameReader:
    """Takes bytes as they come, gives the messages in them."""

    def __init__(self) -> None:
        self._stage = memoryview(bytearray(STAGE_BYTES))
        self._staged = 0
        # A frame that is too large for the stage: its HEAD, what follows it, how much is here.
        self._head: tuple[int, int, int] | None = None
        self._body = self._stage[:0]
        self._filled = 0

    def room(self) -> memoryview:
        """Where the next bytes go; never empty."""
        if self._head is not None:
            return self._body[self._filled :]
        return self._stage[self._staged :]

    def received(self, size: int) -> list[Any]:
        """The messages that are whole now that `size` more bytes are in the room."""
        if self._head is not None:
            self._filled += size
            if self._filled < len(self._body):
                return []
            head, self._head = self._head, None
            body, self._body = self._body, self._stage[:0]
            return _decode(body, head[1], head[2])
        self._staged += size
        found: list[Any] = []
        at = 0
        while self._staged - at >= HEAD.size:
            head = HEAD.unpack_from(self._stage, at)
            begin, end = at + HEAD.size, at + HEAD.size + head[0]
            if end > self._staged:
                if HEAD.size + head[0] > STAGE_BYTES:
                    self._grow(head, begin)
                    return found
                break
            body = self._stage[begin:end]
            if head[2]:
                body = _memory(body)  # the buffers in it are kept by who gets them
            found += _decode(body, head[1], head[2])
            at = end
        rest = self._staged - at
        if at and rest:
            self._stage[:rest] = bytes(self._stage[at : self._staged])
        self._staged = rest
        return found

    def _grow(self, head: tuple[int, int, int], begin: int) -> None:
        """Read the rest of a large frame into memory of its own."""
        self._head = head
        self._body = np.empty(head[0], np.uint8).data
        self._filled = self._staged - begin
        self._body[: self._filled] = self._stage[begin : self._staged]
        self._staged = 0


def _memory(body: memoryview) -> memoryview:
    found = np.empty(len(body), np.uint8).data
    found[:] = body
    return found


def _decode(body: memoryview, text_length: int, count: int) -> list[Any]:
    begin = count * LENGTH.size
    end = begin + text_length
    lengths = struct.unpack_from(f"<{count}Q", body)
    buffers: list[memoryview] = []
    for length in lengths:
        end += -end % ALIGNMENT
        buffers.append(body[end : end + length])
        end += length
    found: list[Any] = pickle.loads(body[begin : begin + text_length], buffers=buffers)
    return found
