"""MP4 (M4A, MOV, 3GP): boxes, of which `moov` is the index to what lies in `mdat`.

Where the index comes first, or the file is one of fragments, it is decoded as its bytes come.
Phones write the index last, when they know it: nothing can be decoded before the end then, so the
bytes are kept until it is there.
https://www.iso.org/standard/83102.html (ISO/IEC 14496-12, 4.2: a box's size and type)
"""

import numpy as np

from .container import ContainerReader, decode_whole
from .errors import AudioError, TooLongError
from .samples import Floats

# Of a file whose index comes last, and of what comes before an index: a quarter of an hour at
# 128 kbit/s.
KEPT_BYTES = 16 * 1024 * 1024
HEADER_BYTES, LONG_HEADER_BYTES = 8, 16
MP4 = "mov"  # FFmpeg's name of it
# Where titles and places stand.
METADATA = (b"udta", b"meta")
FASTSTART = "move it to the front (ffmpeg -c copy -movflags +faststart)"


class Mp4Reader:
    """Feed it bytes; it gives float32 mono samples at `rate` Hz, known once there are samples."""

    def __init__(self, max_seconds: float):
        """
        Args:
            max_seconds: more audio than this from one `feed`, or `finish`, is refused.
        """
        self._max_seconds = max_seconds
        self._kept = bytearray()
        self._at = 0  # where the next box begins
        self._index_last = False
        self._reader: ContainerReader | None = None
        self._rate = 0

    @property
    def rate(self) -> int:
        return self._reader.rate if self._reader is not None else self._rate

    def feed(self, data: bytes) -> Floats:
        """The samples that can be decoded now.

        Raises:
            AudioError: it is not what it claims to be, or its index comes too late.
            TooLongError: there is more audio in it than is taken at once.
        """
        if self._reader is not None:
            return self._reader.feed(data)
        self._kept += data
        if not self._index_last and self._finds_index():
            self._reader = ContainerReader(MP4, self._max_seconds)
            start, self._kept = bytes(self._kept), bytearray()
            return self._reader.feed(start)
        if len(self._kept) > KEPT_BYTES:
            raise AudioError(
                f"its index (moov) is not among its first {KEPT_BYTES >> 20} MiB; {FASTSTART}"
            )
        return np.zeros(0, np.float32)

    def finish(self) -> Floats:
        """The rest.

        Raises:
            AudioError: there was no sound in it, or no index.
            TooLongError: its index comes last, and there is more audio than is taken at once.
        """
        if self._reader is not None:
            return self._reader.finish()
        data, self._kept = bytes(self._kept), bytearray()
        if b"moov" not in data:
            raise AudioError("its index (moov) is missing: the recording was not finished, or cut")
        try:
            found, self._rate = decode_whole(data, MP4, self._max_seconds)
        except TooLongError as error:
            raise TooLongError(f"{error}, and its index comes last; {FASTSTART}") from error
        return found

    def close(self) -> None:
        """Give it up."""
        if self._reader is not None:
            self._reader.close()

    def _finds_index(self) -> bool:
        """Whether the index comes before the samples; False also where that is not known yet.

        Raises:
            AudioError: these are no boxes.
        """
        while len(self._kept) >= self._at + LONG_HEADER_BYTES:
            header = bytes(self._kept[self._at : self._at + LONG_HEADER_BYTES])
            size, kind = int.from_bytes(header[:4], "big"), header[4:8]
            if kind == b"mdat":
                self._index_last = True
                return False
            if size == 1:
                size = int.from_bytes(header[8:], "big")
            if size < HEADER_BYTES:
                raise AudioError("it is not audio, or is damaged")
            if kind == b"moov":
                if len(self._kept) < self._at + size:
                    return False
                _hide_metadata(self._kept, 0, self._at + size, (b"moov", b"trak"))
                return True
            self._at += size
        return False


def _hide_metadata(boxes: bytearray, at: int, end: int, within: tuple[bytes, ...]) -> None:
    """Let FFmpeg pass over the metadata among some boxes: it goes some bytes back to read it, which
    it cannot where bytes come as they come, and then takes what follows for other boxes.

    Args:
        within: the kinds of the boxes to look into, each within the one before it.
    """
    while at + HEADER_BYTES <= end:
        size, kind = int.from_bytes(boxes[at : at + 4], "big"), bytes(boxes[at + 4 : at + 8])
        if kind in METADATA:
            boxes[at + 4 : at + 8] = b"free"
        if kind in within[:1]:
            _hide_metadata(boxes, at + HEADER_BYTES, min(end, at + size), within[1:])
        if size < HEADER_BYTES:
            return
        at += size
