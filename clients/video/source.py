"""Where the pictures of a video come from: a file, a camera, a URL, or the generated sample."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Protocol

import cv2

from mlserver_streaming.vision import scene

from ..errors import SourceError
from .container import Container, Picture, frame_rate

SAMPLE = "sample"
# Finds 30000/1001 in the float that OpenCV gives.
_FPS_DENOMINATOR = 1001


class Reader(Protocol):
    """Gives the next picture, or None at the end; may block."""

    def __call__(self) -> Picture | None: ...


@dataclass(frozen=True)
class VideoSource:
    """An open video.

    Attributes:
        fps: frames a second, as it says.
        frame_count: as promised by its header, if it is: for a progress bar only, the pictures
            themselves tell where the end is.
        note: what to tell of the source.
        pixel_aspect: width of a pixel by its height, known once a picture was read.
    """

    fps: Fraction
    frame_count: int | None
    read: Reader
    note: str | None = None
    container: Container | None = None

    @property
    def pixel_aspect(self) -> Fraction:
        return self.container.pixel_aspect if self.container is not None else Fraction(1)


@contextmanager
def open_source(name: str, timeout: float = 30.0) -> Iterator[VideoSource]:
    """Open `sample`, a camera by its index ("0"), a URL or a file.

    `timeout` is in seconds, for a URL to open and to go on. Raises SourceError, which says what is
    wrong with `name`. A URL that breaks off later ends like a file.
    """
    if name == SAMPLE:
        # Drawn at the pace at which the model takes the frames, like a file.
        drawn = enumerate(scene.moving_scene())

        def draw() -> Picture | None:
            index, image = next(drawn, (0, None))
            return None if image is None else Picture(image, Fraction(index, scene.FPS))

        yield VideoSource(Fraction(scene.FPS), scene.FRAMES, draw)
        return
    # A cancelled client may close the source while a thread still reads from it.
    lock = threading.Lock()
    if name.isdecimal():
        camera = _open_camera(name)

        def look() -> Picture | None:
            with lock:
                done, image = camera.read()
            return Picture(image) if done else None  # type: ignore[arg-type]

        # A float, and of many cameras 0.
        claimed = camera.get(cv2.CAP_PROP_FPS)
        fps, note = frame_rate(claimed)
        try:
            yield VideoSource(fps.limit_denominator(_FPS_DENOMINATOR), None, look, note)
        finally:
            with lock:
                camera.release()
        return
    container = _open_container(name, timeout)

    def read() -> Picture | None:
        with lock:
            return container.read()

    try:
        yield VideoSource(container.fps, container.frame_count, read, container.note, container)
    finally:
        with lock:
            container.close()


def _open_camera(name: str) -> cv2.VideoCapture:
    # OpenCV talks on stderr; one line of ours says what is wrong instead.
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    capture = cv2.VideoCapture(int(name))
    if not capture.isOpened():
        raise SourceError(f"there is no camera {name}, or it is in use")
    return capture


def _open_container(name: str, timeout: float) -> Container:
    if "://" in name:
        return Container(name, timeout, f"{name} cannot be reached or is not a video")
    if not Path(name).exists():
        raise SourceError(f"there is no file {name}")
    if not Path(name).is_file():
        raise SourceError(f"{name} is not a file")
    if not os.access(name, os.R_OK):
        raise SourceError(f"{name} may not be read")
    return Container(name, None, f"{name} is not a video")
