"""Frames with their numbers and times, from whatever there is: files, cameras, URLs, folders,
stdin, the generated sample.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

import cv2

from mlserver_streaming.vision.jpeg import Image, JpegError, decode
from mlserver_streaming.vision.mjpeg import MjpegError, MjpegSplitter

from ..errors import SourceError
from .source import DEFAULT_FPS, SAMPLE, open_source

STDIN = "-"
PICTURES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})
CONNECT_S = 10.0
# A live source that breaks off is opened again after these waits, each twice the one before.
FIRST_BACKOFF_S, LAST_BACKOFF_S = 0.5, 8.0
_STDIN_BYTES = 64 * 1024


@dataclass(frozen=True)
class SourceFrame:
    """One image of a source; `index` counts from 0, `time` is in seconds from the first one.

    `read_at` is when it was read, by `time.perf_counter`.
    """

    index: int
    time: float
    image: Image
    read_at: float = 0.0


class Reader(Protocol):
    """Gives the next image, uint8 BGR or grey, or None at the end; may block."""

    def __call__(self) -> Image | None: ...


class FrameSource:
    """An open source: a context manager, read by one thread at a time.

    Attributes:
        fps: frames a second that it says it has.
        frame_count: how many it promises, if it does.
        live: whether it goes on without us, so that a frame not taken in time is late.
    """

    def __init__(self, name: str, *, connect_s: float = CONNECT_S, retry_s: float = 60.0) -> None:
        """
        Args:
            name: `sample`, `-` (JPEGs on stdin), a camera by its index, a URL, a folder of
                pictures, or a file.
            connect_s: seconds that a URL has to answer.
            retry_s: seconds for which a live source that breaks off is tried again.

        Raises:
            SourceError: there is nothing to read.
        """
        self._name, self._connect_s, self._retry_s = name, connect_s, retry_s
        self._stop = False
        self._count = 0
        self._began: float | None = None
        self.fps = DEFAULT_FPS
        self.frame_count: int | None = None
        self.live = False
        self._files = ExitStack()
        self._read = self._open()

    def __enter__(self) -> FrameSource:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Give up reading; a read that is under way ends soon."""
        self._stop = True
        self._files.close()

    def read(self) -> SourceFrame | None:
        """The next frame; None at the end.

        Raises:
            SourceError: a live source broke off and did not come back, or a picture is none.
        """
        image = self._read()
        while image is None and self.live and not self._stop:
            self._reopen()
            image = self._read()
        if image is None or self._stop:
            return None
        now = time.perf_counter()
        if self._began is None:
            self._began = now
        index, self._count = self._count, self._count + 1
        elapsed = now - self._began if self.live else float(index / self.fps)
        return SourceFrame(index, elapsed, image, now)

    def _open(self) -> Reader:
        if self._name == STDIN:
            self.live = True
            return self._until_end(_jpegs(sys.stdin.buffer))
        if Path(self._name).is_dir():
            pictures = _pictures(Path(self._name))
            self.frame_count = len(pictures)
            return _each(pictures)
        source = self._files.enter_context(open_source(self._name, self._connect_s))
        self.fps, self.frame_count = source.fps, source.frame_count
        self.live = self._name != SAMPLE and (
            self._name.isdecimal() or ("://" in self._name and source.frame_count is None)
        )
        return source.read

    def _until_end(self, images: Iterator[Image]) -> Reader:
        def read() -> Image | None:
            image = next(images, None)
            if image is None:
                self.live = False  # a pipe that has ended does not come back
            return image

        return read

    def _reopen(self) -> None:
        """Open a live source again, for as long as it may take."""
        self._files.close()
        deadline, backoff = time.monotonic() + self._retry_s, FIRST_BACKOFF_S
        while not self._stop:
            try:
                self._read = self._open()
                return
            except SourceError as error:
                if time.monotonic() + backoff > deadline:
                    raise SourceError(
                        f"{self._name} broke off and did not come back within "
                        f"{self._retry_s:g} s: {error}"
                    ) from error
            time.sleep(backoff)
            backoff = min(backoff * 2, LAST_BACKOFF_S)


def _pictures(folder: Path) -> list[Path]:
    """A folder's pictures, by name."""
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in PICTURES)
    if not found:
        raise SourceError(f"{folder} holds no pictures ({', '.join(sorted(PICTURES))})")
    return found


def _each(pictures: list[Path]) -> Reader:
    left = iter(pictures)

    def read() -> Image | None:
        path = next(left, None)
        return None if path is None else _picture(path)

    return read


def _picture(path: Path) -> Image:
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise SourceError(f"{path} is not a picture")
    return image  # type: ignore[return-value]


def _jpegs(stream: BinaryIO) -> Iterator[Image]:
    """The JPEGs of a stream as images. Raises SourceError where what it holds is none."""
    splitter = MjpegSplitter()
    read: Callable[[int], bytes] = getattr(stream, "read1", stream.read)
    seen = False
    try:
        while data := read(_STDIN_BYTES):
            for jpeg in splitter.feed(data):
                seen = True
                yield decode(jpeg)
    except (JpegError, MjpegError) as error:
        raise SourceError(f"stdin: {error}") from error
    if not seen:
        raise SourceError("stdin holds no JPEG")
