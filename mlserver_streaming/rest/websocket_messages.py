"""A message of a WebSocket: bytes are text, `Binary` are bytes."""

from __future__ import annotations

import codecs

from ..tensors.steps import READ_BYTES, Steps

# The first byte of a message that is one frame.
TEXT, BINARY = 0x81, 0x82


class Binary:
    """A binary message; bytes are a text message."""

    __slots__ = ("data",)

    def __init__(self, data: bytes):
        self.data = data

    def __len__(self) -> int:
        return len(self.data)


Message = bytes | Binary


def check_text(data: bytes) -> Steps[None]:
    """Read a text message as UTF-8.

    Raises:
        UnicodeDecodeError: the data are not UTF-8.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    for at in range(0, len(data), READ_BYTES):
        decoder.decode(data[at : at + READ_BYTES], at + READ_BYTES >= len(data))
        if at + READ_BYTES < len(data):
            yield
