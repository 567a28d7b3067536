"""Frames with their numbers and times, from whatever there is: files, cameras, URLs, folders,
stdin, the generated sample.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from mlserver_streaming.vision.jpeg import Image

from ..errors import SourceError
from .container import DEFAULT_FPS, Picture
from .pictures import jpegs, pictures_of, read_picture
from .source import SAMPLE, Reader, VideoSource, open_source

STDIN = "-"
CONNECT_S = 10.0
# A live source that breaks off is opened again after these waits, each twice the one before.
FIRST_BACKOFF_S, LAST_BACKOFF_S = 0.5, 8.0


@dataclass(frozen=True)
class SourceFrame:
    """One image of a source; `index` counts from 0, `time` is in seconds from the first one.

    `read_at` is when it was read, by `time.perf_counter`; `error` why there is no image; `name`
    what its file is called, where it has one of its own.
    """

    index: int
    time: float
    image: Image | None
    read_at: float = 0.0
    error: SourceError | None = None
    name: str | None = None


class FrameSource:
    """An open source: a context manager, read by one thread at a time.

    Attributes:
        fps: frames a second that it says it has.
        frame_count: how many it promises, if it does.
        live: whether it goes on without us, so that a frame not taken in time is late.
        note: what to tell of it: a rate that is not believed.
        realtime: whether a source that would wait is read at its own pace, as a camera is; to be
            set before the first frame is read.
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
        self.live = self.realtime = False
        self.note: str | None = None
        self._files = ExitStack()
        self._opened: VideoSource | None = None
        self._names: list[str] = []
        self._read = self._open()

    def __enter__(self) -> FrameSource:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def pixel_aspect(self) -> Fraction:
        """Width of a pixel by its height, known once a frame was read."""
        return self._opened.pixel_aspect if self._opened is not None else Fraction(1)

    def close(self) -> None:
        """Give up reading; a read that is under way ends soon."""
        self._stop = True
        self._files.close()

    def read(self) -> SourceFrame | None:
        """The next frame; None at the end.

        Raises:
            SourceError: a live source broke off and did not come back.
        """
        picture = self._read()
        while picture is None and self.live and not self._stop:
            self._reopen()
            picture = self._read()
        if picture is None or self._stop:
            return None
        if self._began is None:
            self._began = time.perf_counter()
        index, self._count = self._count, self._count + 1
        if self.live:
            elapsed = time.perf_counter() - self._began
        else:
            elapsed = float(index / self.fps if picture.time is None else picture.time)
            if self.realtime:
                time.sleep(max(self._began + elapsed - time.perf_counter(), 0))
        name = self._names[index] if index < len(self._names) else None
        read_at = time.perf_counter()
        return SourceFrame(index, elapsed, picture.image, read_at, picture.error, name)

    def _open(self) -> Reader:
        if self._name == STDIN:
            self.live = True
            return self._until_end(jpegs(sys.stdin.buffer))
        if Path(self._name).is_dir():
            paths = pictures_of(Path(self._name))
            self.frame_count = len(paths)
            self._names = [path.name for path in paths]
            pictures = map(read_picture, paths)
            return lambda: next(pictures, None)
        source = self._files.enter_context(open_source(self._name, self._connect_s))
        self._opened, self.note = source, source.note
        self.fps, self.frame_count = source.fps, source.frame_count
        self.live = self._name != SAMPLE and (
            self._name.isdecimal() or ("://" in self._name and source.frame_count is None)
        )
        return source.read

    def _until_end(self, pictures: Iterable[Picture]) -> Reader:
        left = iter(pictures)

        def read() -> Picture | None:
            picture = next(left, None)
            if picture is None:
                self.live = False  # a pipe that has ended does not come back
            return picture

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
