"""Where the frames of a video come from: a file, a camera, a URL, or the generated sample."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Protocol

import cv2

from mlserver_streaming.vision import scene
from mlserver_streaming.vision.jpeg import Image

from ..errors import SourceError

SAMPLE = "sample"
# For sources that do not know their rate (many cameras), or that claim an absurd one.
DEFAULT_FPS = Fraction(30)
MAX_FPS = 240
# Finds 30000/1001 in the float that OpenCV gives.
_FPS_DENOMINATOR = 1001


class FrameReader(Protocol):
    """Gives the next frame, BGR, or None at the end; may block."""

    def __call__(self) -> Image | None: ...


@dataclass(frozen=True)
class VideoSource:
    """An open video: `fps` frames a second, `frame_count` as promised by its header, if it is.

    The promise is for a progress bar only; the frames themselves tell where the end is.
    """

    fps: Fraction
    frame_count: int | None
    read: FrameReader

    async def frames(self, limit: int | None = None) -> AsyncGenerator[Image, None]:
        """The frames, at most `limit`, each read in a thread since decoding and cameras block."""
        count = 0
        while limit is None or count < limit:
            frame = await asyncio.to_thread(self.read)
            if frame is None:
                return
            count += 1
            yield frame


@contextmanager
def open_source(name: str, timeout: float = 30.0) -> Iterator[VideoSource]:
    """Open `sample`, a camera by its index ("0"), a URL or a file.

    `timeout` is in seconds, for a URL to open and to go on. Raises SourceError, which says what is
    wrong with `name`. A URL that breaks off later ends like a file: OpenCV does not tell the
    difference.
    """
    if name == SAMPLE:
        # Drawn at the pace at which the model takes the frames, like a file.
        frames = scene.moving_scene()
        yield VideoSource(Fraction(scene.FPS), scene.FRAMES, lambda: next(frames, None))
        return
    capture = _open_capture(name, timeout)
    # A cancelled client may close the source while a thread still reads from it.
    lock = threading.Lock()

    def read() -> Image | None:
        with lock:
            done, image = capture.read()
        return image if done else None  # type: ignore[return-value]

    try:
        promised = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        yield VideoSource(
            frame_rate(capture.get(cv2.CAP_PROP_FPS)), promised if promised > 0 else None, read
        )
    finally:
        with lock:
            capture.release()


def _open_capture(name: str, timeout: float) -> cv2.VideoCapture:
    # OpenCV and its FFmpeg talk on stderr; one line of ours says what is wrong instead.
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    if name.isdecimal():
        capture = cv2.VideoCapture(int(name))
        problem = f"there is no camera {name}, or it is in use"
    elif "://" in name:
        milliseconds = max(int(timeout * 1000), 1)
        capture = cv2.VideoCapture(
            name,
            cv2.CAP_FFMPEG,
            [
                cv2.CAP_PROP_OPEN_TIMEOUT_MSEC,
                milliseconds,
                cv2.CAP_PROP_READ_TIMEOUT_MSEC,
                milliseconds,
            ],
        )
        problem = f"{name} cannot be reached or is not a video"
    else:
        if not Path(name).exists():
            raise SourceError(f"there is no file {name}")
        if not Path(name).is_file():
            raise SourceError(f"{name} is not a file")
        if not os.access(name, os.R_OK):
            raise SourceError(f"{name} may not be read")
        # FFmpeg alone: other backends take a name for a pattern of numbered pictures.
        capture = cv2.VideoCapture(name, cv2.CAP_FFMPEG)
        problem = f"{name} is not a video"
    if not capture.isOpened():
        raise SourceError(problem)
    return capture


def frame_rate(fps: float) -> Fraction:
    """The exact rate behind OpenCV's float; DEFAULT_FPS for one that cannot be true."""
    # Not a number compares false.
    if not 0 < fps <= MAX_FPS:
        return DEFAULT_FPS
    return Fraction(fps).limit_denominator(_FPS_DENOMINATOR) or DEFAULT_FPS
