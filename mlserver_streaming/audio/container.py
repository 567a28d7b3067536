"""FLAC, Ogg, MP3, AAC, MP4, WebM and coded WAV, decoded by FFmpeg (PyAV) as their bytes come.

FFmpeg pulls bytes, a stream pushes them. So FFmpeg runs in a thread of its own which waits in
`read` for the next bytes, and the two take turns: `feed` returns when the thread wants more.
The demuxer is named, never guessed: FFmpeg's playlists would open files and addresses.
"""

import io
import threading
from collections.abc import Iterator
from typing import Any

import av
import av.error
import numpy as np

from .errors import AudioError, TooLongError
from .mixing import Mixer
from .samples import Floats, check_rate, from_floats

# FFmpeg looks at this much before it says what is in the file; its default of 5 MB is minutes of
# speech, too late for a stream.
PROBE_BYTES = 4096
FFMPEG_BYTES = 1024  # what it asks for at once
DAMAGED = (av.error.FFmpegError, ValueError, IndexError, OSError)


class ContainerReader:
    """Feed it bytes; it gives float32 mono samples at `rate` Hz, known once there are samples."""

    def __init__(self, demuxer: str, max_seconds: float):
        """
        Args:
            demuxer: FFmpeg's name of the container's format.
            max_seconds: more audio than this from one `feed` is refused.
        """
        self.rate = 0
        self._demuxer = demuxer
        self._max_seconds = max_seconds
        self._buffer = bytearray()
        self._blocks: list[Floats] = []
        self._samples = 0
        self._ended = self._hungry = self._done = False
        self._error: AudioError | None = None
        self._turn = threading.Condition()
        self._thread: threading.Thread | None = None

    def feed(self, data: bytes) -> Floats:
        """The samples that can be decoded now; blocks for as long as that takes.

        Raises:
            AudioError: it is not what it claims to be.
            TooLongError: there is more audio in it than is taken at once.
        """
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="audio-container", daemon=True)
            self._thread.start()
        with self._turn:
            if not self._done:
                self._buffer += data
            self._hungry = False
            self._turn.notify_all()
            self._turn.wait_for(lambda: self._done or self._hungry)
            return self._take()

    def finish(self) -> Floats:
        """The rest.

        Raises:
            AudioError: there was no sound in it.
        """
        with self._turn:
            self._ended = True
        found = self.feed(b"")
        self.close()
        if not self.rate:
            raise AudioError("there is no sound in it that can be decoded")
        return found

    def close(self) -> None:
        """End the thread, if it still runs."""
        with self._turn:
            self._ended, self._hungry = True, False
            self._turn.notify_all()
        if self._thread is not None:
            self._thread.join()

    def read(self, size: int) -> bytes:
        """FFmpeg's side: the next bytes, at least one until the end."""
        with self._turn:
            while not self._buffer and not self._ended:
                self._hungry = True
                self._turn.notify_all()
                self._turn.wait_for(lambda: not self._hungry)
            data = bytes(self._buffer[:size])
            del self._buffer[:size]
            return data

    def _take(self) -> Floats:
        if self._error is not None:
            raise self._error
        blocks, self._blocks, self._samples = self._blocks, [], 0
        return np.concatenate(blocks) if blocks else np.zeros(0, np.float32)

    def _run(self) -> None:
        try:
            self._decode()
        except AudioError as error:
            self._error = error
        except DAMAGED as error:
            # A stream that broke off is used as far as it goes.
            if not self.rate or not self._ended:
                self._error = AudioError("it is not audio, or is damaged")
                self._error.__cause__ = error
        finally:
            with self._turn:
                self._done = True
                self._buffer.clear()
                self._turn.notify_all()

    def _decode(self) -> None:
        for samples, rate in decoded(self, self._demuxer):
            with self._turn:
                self.rate = rate
                self._samples += len(samples)
                if self._samples > self._max_seconds * self.rate:
                    raise TooLongError(f"it holds more than {self._max_seconds:g} s of audio")
                self._blocks.append(samples)


def decode_whole(data: bytes, demuxer: str, max_seconds: float) -> tuple[Floats, int]:
    """The samples of a whole file, and their rate; what is damaged is used as far as it goes.

    Raises:
        AudioError: it is not what it claims to be, or there is no sound in it.
        TooLongError: there is more audio in it than `max_seconds`.
    """
    blocks: list[Floats] = []
    count = rate = 0
    try:
        for samples, rate in decoded(io.BytesIO(data), demuxer):
            blocks.append(samples)
            count += len(samples)
            if count > max_seconds * rate:
                raise TooLongError(f"it holds more than {max_seconds:g} s of audio")
    except AudioError:
        raise
    except DAMAGED as error:
        if not rate:
            raise AudioError("it is not audio, or is damaged") from error
    if not rate:
        raise AudioError("there is no sound in it that can be decoded")
    return np.concatenate(blocks), rate


def decoded(source: Any, demuxer: str) -> Iterator[tuple[Floats, int]]:
    """The samples of a file, mono, and their rate, as they are decoded.

    Args:
        source: has `read`, and `seek` and `tell` where FFmpeg may go back.
    """
    options = {"probesize": str(PROBE_BYTES), "analyzeduration": "0"}
    opened: Any
    with av.open(source, "r", demuxer, options, buffer_size=FFMPEG_BYTES) as opened:
        if not opened.streams.audio:
            raise AudioError("there is no sound in it")
        rate = channels = 0
        mixer: Mixer | None = None
        found_format = to_packed = None
        for frame in opened.decode(opened.streams.audio[0]):
            if rate and frame.sample_rate != rate:
                raise AudioError("its sample rate changes on the way")
            if mixer is None:
                rate = check_rate(frame.sample_rate)
                # FFmpeg knows what belongs where of more than two.
                channels = min(2, frame.layout.nb_channels)
                mixer = Mixer(rate, channels)
            if found_format != (frame.format.name, frame.layout.name):
                found_format = (frame.format.name, frame.layout.name)
                layout = "mono" if channels == 1 else "stereo"
                to_packed = av.AudioResampler(format="flt", layout=layout)
            for packed in to_packed.resample(frame):  # type: ignore[union-attr]
                # Lossy codecs overshoot as they like: what they decode to is cut off, not refused.
                samples: Any = np.clip(packed.to_ndarray().reshape(-1, channels), -1.0, 1.0)
                yield mixer.feed(from_floats(samples)), rate
        if mixer is not None:
            yield mixer.finish(), rate
