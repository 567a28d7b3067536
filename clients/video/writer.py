"""Write frames as an .mp4 that plays in a browser: H.264, yuv420p, its index at the front.

Each frame stands at its own time.
"""

from __future__ import annotations

import threading
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import av
import av.error
import cv2
import numpy as np
from av.container import OutputContainer
from av.video.reformatter import ColorRange, Colorspace
from av.video.stream import VideoStream

from mlserver_streaming.vision.jpeg import Image

from ..errors import ResultError

# Visibly the same as its source, at a size fit for a web page, and faster than models are.
# MPEG's own clock.
TICKS = 90_000
ENCODER_OPTIONS = {"crf": "20", "preset": "veryfast"}


class VideoWriter:
    """Writes to `path`, whose folder it makes; an older file stays until the new one is whole.

    Use it as a context manager. The first frame sets the size (made even, as yuv420p needs it, by
    repeating the last row or column); later ones of another size are scaled to fit into it, black
    beside them. Without a frame no file is left. Raises ResultError when it cannot write there.

    Attributes:
        written: whether the file is whole and in its place.

    `write` blocks: call it from a thread, one frame at a time.
    """

    def __init__(self, path: Path, fps: Fraction) -> None:
        """
        Args:
            fps: frames a second: for those that are given no time, and how long the last one is
                shown.
        """
        self.path = path
        self.frames = 0
        self.written = False
        self._fps = fps
        # Fine enough for any clock, and a multiple of the rate, so that a steady one stays exact.
        self._time_base = Fraction(1, fps.numerator * -(-TICKS // fps.numerator))
        self._next = 0
        # The index moves to the front when the file is closed: before that it plays nowhere.
        self._part = path.with_name(path.name + ".part")
        self._container: OutputContainer | None = None
        self._stream: VideoStream | None = None
        # Closing may come while a cancelled client's thread still writes.
        self._lock = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.is_dir():
                raise IsADirectoryError(None, "Is a directory")
            self._part.touch()
        except OSError as error:
            raise ResultError(f"{path} cannot be written: {error.strerror}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # Also after an error: what was done so far is worth seeing.
        self.close()

    def write(
        self,
        image: Image,
        time: Fraction | float | None = None,
        pixel_aspect: Fraction = Fraction(1),
    ) -> None:
        """Append one frame, uint8 [height, width, 3] in BGR or [height, width] grey.

        Args:
            time: in seconds; one that is not after the frame before is put right behind it. None
                is the rate's next.
            pixel_aspect: width of a pixel by its height, as the first frame has it.
        """
        with self._lock:
            self._encode(image, time, pixel_aspect)

    def close(self) -> None:
        """Finish the file and move it to its place. A second call does nothing."""
        with self._lock:
            container, self._container = self._container, None
            if container is None or self._stream is None:
                self._part.unlink(missing_ok=True)
                return
            try:
                container.mux(self._stream.encode(None))
                container.close()
                self._part.replace(self.path)
                self.written = True
            except (OSError, av.error.FFmpegError) as error:
                raise self._failure(error) from error

    def _encode(self, image: Image, time: Fraction | float | None, pixel_aspect: Fraction) -> None:
        if image.ndim == 2:
            image = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)  # type: ignore[assignment]
        try:
            if self._container is None or self._stream is None:
                self._container, self._stream = self._open(image, pixel_aspect)
            # OpenCV's conversion rounds; FFmpeg's fast one cuts off and darkens by two levels.
            yuv = cv2.cvtColor(_fitted(image, self._stream), cv2.COLOR_BGR2YUV_I420)
            frame = av.VideoFrame.from_ndarray(yuv, format="yuv420p")  # type: ignore[arg-type]
            seconds = self.frames / self._fps if time is None else time
            frame.pts = max(round(seconds / self._time_base), self._next)
            frame.time_base = self._time_base
            self._next = frame.pts + 1
            self._container.mux(self._stream.encode(frame))
        except (OSError, av.error.FFmpegError) as error:
            raise self._failure(error) from error
        self.frames += 1

    def _open(self, image: Image, pixel_aspect: Fraction) -> tuple[OutputContainer, VideoStream]:
        options = {
            "movflags": "+faststart",
            "video_track_timescale": str(self._time_base.denominator),
        }
        container = av.open(str(self._part), "w", format="mp4", options=options)
        stream = container.add_stream("libx264", rate=self._fps, options=ENCODER_OPTIONS)
        height, width = image.shape[:2]
        stream.width, stream.height = width + width % 2, height + height % 2
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = self._time_base
        stream.codec_context.sample_aspect_ratio = pixel_aspect
        # Left unsaid, players take the colours of large videos for those of BT.709.
        stream.codec_context.colorspace = Colorspace.ITU601
        stream.codec_context.color_range = ColorRange.MPEG
        return container, stream

    def _failure(self, error: Exception) -> ResultError:
        self._part.unlink(missing_ok=True)
        reason = getattr(error, "strerror", None) or error
        return ResultError(f"{self.path} cannot be written: {reason}")


def _fitted(image: Image, stream: VideoStream) -> Image:
    height, width = image.shape[:2]
    right, below = stream.width - width, stream.height - height
    if right == below == 0:
        return image
    if right in (0, 1) and below in (0, 1):
        return cv2.copyMakeBorder(  # type: ignore[return-value]
            image, 0, below, 0, right, cv2.BORDER_REPLICATE
        )
    scale = min(stream.width / width, stream.height / height)
    wide, high = max(round(width * scale), 1), max(round(height * scale), 1)
    small = cv2.resize(image, (wide, high), interpolation=cv2.INTER_AREA)
    fitted = np.zeros((stream.height, stream.width, 3), np.uint8)
    left, top = (stream.width - wide) // 2, (stream.height - high) // 2
    fitted[top : top + high, left : left + wide] = small
    return fitted
