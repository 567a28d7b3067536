"""Write frames as an .mp4 that plays in a browser: H.264, yuv420p, its index at the front."""

from __future__ import annotations

import threading
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import av
import av.error
import cv2
from av.container import OutputContainer
from av.video.reformatter import ColorRange, Colorspace
from av.video.stream import VideoStream

from mlserver_streaming.vision.jpeg import Image

from ..errors import ResultError

# Visibly the same as its source, at a size fit for a web page, and faster than models are.
ENCODER_OPTIONS = {"crf": "20", "preset": "veryfast"}


class VideoWriter:
    """Writes to `path`, whose folder it makes; an older file stays until the new one is whole.

    Use it as a context manager. The first frame sets the size (made even, as yuv420p needs it, by
    repeating the last row or column); later ones of another size are scaled to it. Without a frame
    no file is left. Raises ResultError when it cannot write there.

    `write` blocks: call it from a thread, one frame at a time.
    """

    def __init__(self, path: Path, fps: Fraction) -> None:
        self.path = path
        self.frames = 0
        self._fps = fps
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

    def write(self, image: Image) -> None:
        """Append one frame, uint8 [height, width, 3] in BGR or [height, width] grey."""
        with self._lock:
            self._encode(image)

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
            except (OSError, av.error.FFmpegError) as error:
                raise self._failure(error) from error

    def _encode(self, image: Image) -> None:
        if image.ndim == 2:
            image = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)  # type: ignore[assignment]
        try:
            if self._container is None or self._stream is None:
                self._container, self._stream = self._open(image)
            # OpenCV's conversion rounds; FFmpeg's fast one cuts off and darkens by two levels.
            yuv = cv2.cvtColor(_fitted(image, self._stream), cv2.COLOR_BGR2YUV_I420)
            frame = av.VideoFrame.from_ndarray(yuv, format="yuv420p")  # type: ignore[arg-type]
            frame.pts = self.frames
            frame.time_base = 1 / self._fps
            self._container.mux(self._stream.encode(frame))
        except (OSError, av.error.FFmpegError) as error:
            raise self._failure(error) from error
        self.frames += 1

    def _open(self, image: Image) -> tuple[OutputContainer, VideoStream]:
        container = av.open(str(self._part), "w", format="mp4", options={"movflags": "+faststart"})
        stream = container.add_stream("libx264", rate=self._fps, options=ENCODER_OPTIONS)
        height, width = image.shape[:2]
        stream.width, stream.height = width + width % 2, height + height % 2
        stream.pix_fmt = "yuv420p"
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
    return cv2.resize(image, (stream.width, stream.height))  # type: ignore[return-value]
