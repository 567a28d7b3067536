"""Cut a stream of bytes into the JPEGs in it, whatever stands between them.

Segments before the pixels say how long they are, so a thumbnail inside of one is not taken for a
picture. Markers: ITU-T T.81, annex B.
"""

from __future__ import annotations

from .jpeg import EOI, SOI, WITHOUT_LENGTH


class MjpegError(ValueError):
    """A picture without an end."""


class MjpegSplitter:
    """Feed it bytes as they come; it gives the whole JPEGs. `limit` is of one JPEG, in bytes."""

    def __init__(self, limit: int = 64 * 1024 * 1024) -> None:
        self._limit = limit
        self._data = bytearray()
        # Where to go on looking: inside of a picture that began at 0, or for the next one.
        self._at = 0
        self._inside = False

    def feed(self, data: bytes) -> list[bytes]:
        """The JPEGs that `data` completes.

        Raises:
            MjpegError: a picture has no end within the limit.
        """
        self._data += data
        found = []
        while (jpeg := self._next()) is not None:
            found.append(jpeg)
        if self._inside and len(self._data) > self._limit:
            raise MjpegError(f"a JPEG of more than {self._limit} bytes")
        return found

    def _next(self) -> bytes | None:
        if not self._inside:
            start = self._data.find(bytes([0xFF, SOI, 0xFF]))
            if start < 0:
                # The beginning of the marker may be there.
                del self._data[: max(len(self._data) - 2, 0)]
                return None
            del self._data[:start]
            self._at, self._inside = 2, True
        while True:
            marker = self._data.find(b"\xff", self._at)
            if marker < 0 or marker + 1 >= len(self._data):
                self._at = len(self._data) if marker < 0 else marker
                return None
            code = self._data[marker + 1]
            if code == 0xFF:
                self._at = marker + 1
            elif code == EOI:
                jpeg = bytes(self._data[: marker + 2])
                del self._data[: marker + 2]
                self._inside = False
                return jpeg
            elif code in WITHOUT_LENGTH:
                self._at = marker + 2
            else:
                if marker + 4 > len(self._data):
                    self._at = marker
                    return None
                length = int.from_bytes(self._data[marker + 2 : marker + 4], "big")
                if marker + 2 + length > len(self._data):
                    self._at = marker
                    return None
                self._at = marker + 2 + length
