"""A WAV file, read as its bytes come, in pieces of any size.

The format: https://learn.microsoft.com/windows/win32/xaudio2/resource-interchange-file-format--riff-
and RFC 2361. The header's lengths are hints only. A program that writes to a pipe cannot know them
and leaves 0 or the largest number; a file that broke off is shorter than they say; and where
something other than a chunk follows the samples, the samples go on.
"""

import struct

import numpy as np

from .errors import AudioError
from .mixing import Mixer
from .samples import Floats, check_rate, from_floats

PCM, FLOAT, EXTENSIBLE = 0x0001, 0x0003, 0xFFFE
HEADER_BYTES = 12  # "RIFF", a length, "WAVE"
CHUNK_BYTES = 8  # a chunk's name and length
UNKNOWN_LENGTHS = (0, 0xFFFFFFFF, 0x7FFFFFFF, 0xFFFFFFFF - 36, 0x7FFFFFFF - 36, 0x80000000)
# A header larger than this before the samples is no header of a recorder.
MAX_HEADER_BYTES = 1 << 20
MAX_CHANNELS = 32


class OtherCodecError(AudioError):
    """A WAV whose samples are coded (A-law, ADPCM and the like): a real decoder is needed."""


class WavReader:
    """Feed it bytes; it gives float32 mono samples at `rate` Hz, which the header sets."""

    def __init__(self) -> None:
        self.rate = 0
        self._pending = bytearray()
        self._tag = self._channels = self._width = 0
        self._mixer: Mixer | None = None
        self._in_data = False
        self._declared = 0
        self._left: int | None = None  # bytes of the data chunk still to come; None: until the end
        self._pad = 0  # after samples of an odd length
        self._skip = 0
        self._began = self._over = False

    def feed(self, data: bytes) -> Floats:
        """The samples that are whole now.

        Raises:
            AudioError: the header is none, or describes what no recorder makes.
            OtherCodecError: the samples are neither PCM nor floating.
        """
        if self._over:
            return np.zeros(0, np.float32)
        self._pending += data
        while not self._in_data:
            if not self._read_header():
                return np.zeros(0, np.float32)
        return self._take()

    def seconds_in(self, size: int) -> float:
        """How long so many bytes of the file last, what is no sound left out as far as its header
        tells; 0 before the header is read."""
        if not self.rate:
            return 0.0
        return min(size, self._declared or size) / (self._width * self._channels * self.rate)

    def finish(self) -> Floats:
        """There is no more: the rest.

        Raises:
            AudioError: the header is not whole.
        """
        if not self._in_data:
            raise AudioError("the WAV file ends within its header")
        return self._mixer.finish() if self._mixer is not None else np.zeros(0, np.float32)

    def _read_header(self) -> bool:
        """Take one piece of the header; False where more bytes are needed."""
        pending = self._pending
        if not self._began:
            if len(pending) < HEADER_BYTES:
                return False
            del pending[:HEADER_BYTES]
            self._began = True
        if self._skip:
            skipped = min(self._skip, len(pending))
            del pending[:skipped]
            self._skip -= skipped
            if self._skip:
                return False
        if len(pending) < CHUNK_BYTES:
            return False
        name, size = struct.unpack_from("<4sI", pending)
        if name == b"data":
            if not self.rate:
                raise AudioError("the WAV file has no 'fmt ' chunk before its samples")
            del pending[:CHUNK_BYTES]
            self._in_data = True
            self._left = None if size in UNKNOWN_LENGTHS else size
            self._declared = self._left or 0
            self._pad = size % 2
            return True
        if size > MAX_HEADER_BYTES or not _is_name(name):
            raise AudioError("the WAV file's header is damaged")
        if name != b"fmt ":
            del pending[:CHUNK_BYTES]
            self._skip = size + size % 2
            return True
        if len(pending) < CHUNK_BYTES + size:
            return False
        self._read_format(bytes(pending[CHUNK_BYTES : CHUNK_BYTES + size]))
        del pending[: CHUNK_BYTES + size + size % 2]
        return True

    def _read_format(self, data: bytes) -> None:
        if len(data) < 16:
            raise AudioError("the WAV file's header is damaged")
        tag, channels, rate, _, block, bits = struct.unpack_from("<HHIIHH", data)
        if tag == EXTENSIBLE and len(data) >= 26:
            tag = int.from_bytes(data[24:26], "little")  # the first bytes of the codec's GUID
        if not 1 <= channels <= MAX_CHANNELS:
            raise AudioError(f"a WAV file of {channels} channels cannot be used")
        if (tag, bits) not in {(PCM, 8), (PCM, 16), (PCM, 24), (PCM, 32), (FLOAT, 32), (FLOAT, 64)}:
            raise OtherCodecError(f"a WAV file of codec {tag} with {bits} bits cannot be used")
        if block != channels * bits // 8:
            raise AudioError("the WAV file's header is damaged")
        self.rate = check_rate(rate)
        self._tag, self._channels, self._width = tag, channels, bits // 8

    def _take(self) -> Floats:
        pending = self._pending
        frame = self._width * self._channels
        if self._left is not None and len(pending) > self._left:
            # Enough to see what follows the samples, which a pad byte may precede.
            at = self._left + self._pad
            if len(pending) < at + CHUNK_BYTES:
                usable = self._left - self._left % frame
                return self._convert(usable)
            if _is_name(bytes(pending[at : at + 4])):
                samples = self._convert(self._left - self._left % frame)
                pending.clear()
                self._over = True
                return samples
            self._left = None
        return self._convert(len(pending) - len(pending) % frame)

    def _convert(self, size: int) -> Floats:
        """The samples in the first `size` bytes, a whole number of frames."""
        data = bytes(self._pending[:size])
        del self._pending[:size]
        if self._left is not None:
            self._left -= size
        if self._tag == FLOAT:
            found: Floats = from_floats(np.frombuffer(data, "<f4" if self._width == 4 else "<f8"))
        elif self._width == 1:
            found = (np.frombuffer(data, np.uint8) / 128.0 - 1.0).astype(np.float32)
        elif self._width == 3:
            # 24 bits as the upper three bytes of 32.
            wide = np.zeros((size // 3, 4), np.uint8)
            wide[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
            found = (wide.view("<i4").reshape(-1) / 2.0**31).astype(np.float32)
        else:
            scale = 2.0 ** (8 * self._width - 1)
            found = (np.frombuffer(data, f"<i{self._width}") / scale).astype(np.float32)
        self._mixer = self._mixer or Mixer(self.rate, self._channels)
        return self._mixer.feed(found.reshape(-1, self._channels))


def _is_name(name: bytes) -> bool:
    """Whether four bytes can name a chunk: printable ASCII."""
    return all(0x20 <= byte < 0x7F for byte in name)
