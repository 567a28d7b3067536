"""Sound files to samples, as their bytes come: which reader a file needs, told by its first bytes.

WAV is read here (a recorder's pipe begins with a header that lies, and one byte more is one byte
more); FFmpeg reads the rest.
"""

import numpy as np

from .container import ContainerReader
from .errors import AudioError, TooLongError
from .mp4 import MP4, Mp4Reader
from .samples import Floats
from .wav import OtherCodecError, WavReader

# What is read of a file at once: it may be refused before the rest is.
PIECE_BYTES = 256 * 1024
# Enough to tell the format.
SNIFF_BYTES = 12
DEMUXERS = {
    b"fLaC": "flac",
    b"OggS": "ogg",
    b"ID3": "mp3",
    b"RIFX": "wav",
    b"RF64": "wav",
    b"\x1a\x45\xdf\xa3": "matroska",  # WebM: what browsers record
}
# The first box of one, at its fifth byte; old ones have no `ftyp`.
MP4_BOXES = (b"ftyp", b"styp", b"moov", b"mdat", b"wide")
KNOWN = "WAV, FLAC, Ogg, MP3, M4A (MP4), AAC or WebM"


def demuxer_of(start: bytes) -> str | None:
    """FFmpeg's name for the format of a file that begins so (12 bytes); None: it is not audio."""
    if start[:4] == b"RIFF" and start[8:12] == b"WAVE":
        return "wav"
    for magic, name in DEMUXERS.items():
        if start.startswith(magic):
            return name
    if start[4:8] in MP4_BOXES:
        return MP4
    # A frame of AAC in ADTS: twelve set bits, then the layer 0.
    if len(start) >= 3 and start[0] == 0xFF and start[1] & 0xF6 == 0xF0:
        return "aac"
    # An MPEG audio frame: eleven set bits, then a version and a layer that exist.
    if len(start) >= 3 and start[0] == 0xFF and start[1] & 0xE0 == 0xE0:
        version, layer = start[1] >> 3 & 3, start[1] >> 1 & 3
        if version != 1 and layer != 0 and start[2] >> 4 != 15:
            return "mp3"
    return None


class FileReader:
    """Feed it a file's bytes in pieces of any size; it gives float32 mono samples at `rate` Hz."""

    def __init__(self, max_seconds: float):
        """
        Args:
            max_seconds: more audio than this from one `feed` is refused.
        """
        self._max_seconds = max_seconds
        self._start = bytearray()
        self._wav: WavReader | None = None
        self._container: ContainerReader | Mp4Reader | None = None

    @property
    def rate(self) -> int:
        """Samples a second; 0 until the first samples are there."""
        reader = self._wav or self._container
        return reader.rate if reader else 0

    def feed(self, data: bytes) -> Floats:
        """The samples that are there now.

        Raises:
            AudioError: it is not audio.
            TooLongError: there is more in it than is taken at once.
        """
        found: list[Floats] = []
        samples = 0
        for at in range(0, len(data) or 1, PIECE_BYTES):
            piece = self._feed(data[at : at + PIECE_BYTES])
            found.append(piece)
            samples += len(piece)
            # A WAV's length is known before it is read.
            seconds = self._wav.seconds_in(len(data)) if self._wav is not None else 0.0
            if self.rate and max(seconds, samples / self.rate) > self._max_seconds:
                raise TooLongError(f"it holds more than {self._max_seconds:g} s of audio")
        return found[0] if len(found) == 1 else np.concatenate(found)

    def _feed(self, data: bytes) -> Floats:
        if self._container is not None:
            return self._container.feed(data)
        if self._wav is None:
            self._start += data
            if len(self._start) < SNIFF_BYTES:
                return np.zeros(0, np.float32)
            return self._open(bytes(self._start))
        if not self._wav.rate:
            self._start += data  # still its header: another reader may need it from the start
        return self._feed_wav(self._wav, data)

    def finish(self) -> Floats:
        """What was left.

        Raises:
            AudioError: it is no whole file, or there is no sound in it.
        """
        if self._container is not None:
            return self._container.finish()
        if self._wav is None:
            if self._start:
                raise AudioError(f"it is not audio: send {KNOWN}")
            return np.zeros(0, np.float32)
        return self._wav.finish()

    def close(self) -> None:
        """Give it up; after `finish` there is nothing to do."""
        if self._container is not None:
            self._container.close()

    def _open(self, start: bytes) -> Floats:
        demuxer = demuxer_of(start)
        if demuxer is None:
            raise AudioError(f"it is not audio: send {KNOWN}")
        if demuxer == "wav" and start[:4] == b"RIFF":
            self._wav = WavReader()
            return self._feed_wav(self._wav, start)
        return self._open_container(demuxer, start)

    def _feed_wav(self, reader: WavReader, data: bytes) -> Floats:
        try:
            return reader.feed(data)
        except OtherCodecError:
            self._wav = None
            return self._open_container("wav", bytes(self._start))

    def _open_container(self, demuxer: str, start: bytes) -> Floats:
        self._container = (
            Mp4Reader(self._max_seconds)
            if demuxer == MP4
            else ContainerReader(demuxer, self._max_seconds)
        )
        return self._container.feed(start)
