"""FLAC, Ogg, MP3, WebM and coded WAV, decoded by FFmpeg (PyAV) as their bytes come.

FFmpeg pulls bytes, a stream pushes them. So FFmpeg runs in a thread of its own which waits in
`read` for the next bytes, and the two take turns: `feed` returns when the thread wants more.
The demuxer is named, never guessed: FFmpeg's playlists would open files and addresses.
"""

import threading
from typing import Any

import av
import av.error
import numpy as np

from .errors import AudioError, TooLongError
from .samples import Floats, check_rate, from_floats

# FFmpeg looks at this much before it says what is in the file; its default of 5 MB is minutes of
# speech, too late for a stream.
PROBE_BYTES = 4096
FFMPEG_BYTES = 1024  # what it asks for at once


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
        except (av.error.FFmpegError, ValueError, IndexError, OSError) as error:
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
        options = {"probesize": str(PROBE_BYTES), "analyzeduration": "0"}
        source: Any = self
        opened: Any
        with av.open(source, "r", self._demuxer, options, buffer_size=FFMPEG_BYTES) as opened:
            if not opened.streams.audio:
                raise AudioError("there is no sound in it")
            stream = opened.streams.audio[0]
            to_mono = av.AudioResampler(format="flt", layout="mono")
            for frame in opened.decode(stream):
                for mono in to_mono.resample(frame):
                    self._keep(mono)
            for mono in to_mono.resample(None):
                self._keep(mono)

    def _keep(self, frame: Any) -> None:
        if self.rate and frame.sample_rate != self.rate:
            raise AudioError("its sample rate changes on the way")
        # Lossy codecs overshoot as they like: what they decode to is cut off, not refused.
        samples = from_floats(np.clip(frame.to_ndarray().reshape(-1), -1.0, 1.0))
        with self._turn:
            self.rate = check_rate(frame.sample_rate)
            self._samples += len(samples)
            if self._samples > self._max_seconds * self.rate:
                raise TooLongError(f"it holds more than {self._max_seconds:g} s of audio")
            self._blocks.append(samples)
