"""Pictures of a file or a URL, as FFmpeg reads them: at their times, upright, whole."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import av.error
import numpy as np
from av.filter import Graph
from av.video.frame import VideoFrame

from mlserver_streaming.vision.jpeg import Image

from ..errors import SourceError
from .timeline import Timeline

# For sources that do not know their rate (many cameras), or that claim an absurd one.
DEFAULT_FPS = Fraction(30)
# Beyond what cameras of high speed record for playing; time bases (90000) stand where rates should.
MAX_FPS = 1000
MICROSECONDS = 1_000_000


@dataclass(frozen=True)
class Picture:
    """An image, uint8 BGR or grey, or why there is none; `time` is in seconds from the first one,
    None where it is the moment at which it comes."""

    image: Image | None
    time: Fraction | None = None
    error: SourceError | None = None


class Container:
    """An open file or URL.

    Attributes:
        fps: pictures a second, as it says.
        note: what to tell of it, where that is not believed.
        frame_count: how many it promises, if it does.
        pixel_aspect: width of a pixel by its height.
    """

    def __init__(self, name: str, timeout: float | None, problem: str) -> None:
        """
        Args:
            timeout: seconds for a URL to open and to go on; None for a file.
            problem: what is wrong when it cannot be opened.

        Raises:
            SourceError: `problem`.
        """
        # As OpenCV has it: over UDP a lost packet is a torn picture.
        options = {"rtsp_transport": "tcp"} if name.startswith("rtsp") else {}
        place = name if timeout is not None else f"file:{name}"
        try:
            self._container = av.open(place, timeout=timeout, options=options)
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise SourceError(problem) from error
        streams: Any = self._container.streams
        self._stream: Any = streams.best("video")
        if self._stream is None:
            self._container.close()
            raise SourceError(problem)
        if timeout is None:
            # All cores on one picture after another; a live one would be held back by it.
            self._stream.thread_type = "AUTO"
        self.fps, self.note = frame_rate(self._stream.guessed_rate)
        self.pixel_aspect = Fraction(self._stream.sample_aspect_ratio or 1)
        self.frame_count = self._promised()
        self._timeline = Timeline(self.fps)
        self._deinterlacer: _Deinterlacer | None = None
        self._pictures = self._read()

    def read(self) -> Picture | None:
        """The next picture; None at the end."""
        return next(self._pictures, None)

    def close(self) -> None:
        self._container.close()

    def _promised(self) -> int | None:
        if self._stream.frames:
            return int(self._stream.frames)
        if self._stream.duration is not None and self._stream.time_base is not None:
            seconds = self._stream.duration * self._stream.time_base
        elif self._container.duration is not None:
            seconds = Fraction(self._container.duration, MICROSECONDS)
        else:
            return None
        rate = self._stream.average_rate or self.fps
        return round(seconds * rate) or None if 0 < rate <= MAX_FPS else None

    def _read(self) -> Iterator[Picture]:
        for frame in self._shown():
            clock = None if frame.pts is None else frame.pts * Fraction(frame.time_base or 0)
            image: Any = frame.to_ndarray(format="bgr24")
            # The angle is counter-clockwise, as numpy turns.
            if turns := round(frame.rotation / 90) % 4:
                image = np.ascontiguousarray(np.rot90(image, turns))
                if turns % 2:
                    self.pixel_aspect = 1 / Fraction(self._stream.sample_aspect_ratio or 1)
            yield Picture(image, self._timeline.place(clock))

    def _shown(self) -> Iterator[VideoFrame]:
        """The frames as they are to be shown: of an interlaced video both fields' lines in one."""
        for frame in self._decoded():
            if self._deinterlacer is None and frame.interlaced_frame:
                self._deinterlacer = _Deinterlacer(self._stream)
            if self._deinterlacer is None:
                yield frame
            else:
                yield from self._deinterlacer.feed(frame)
        if self._deinterlacer is not None:
            yield from self._deinterlacer.feed(None)

    def _decoded(self) -> Iterator[VideoFrame]:
        try:
            for packet in self._container.demux(self._stream):
                try:
                    yield from packet.decode()
                except av.error.InvalidDataError:
                    # A damaged picture costs itself, and those that are made of it.
                    continue
        except (av.error.FFmpegError, OSError):
            # It breaks off: what was decoded so far is shown, and that is the end.
            yield from self._rest()

    def _rest(self) -> Iterator[VideoFrame]:
        try:
            yield from self._stream.decode(None)
        except (av.error.FFmpegError, OSError):
            return


class _Deinterlacer:
    """FFmpeg's bwdif, for the frames that are marked as interlaced; one frame for each."""

    def __init__(self, stream: Any) -> None:
        self._graph = Graph()
        source = self._graph.add_buffer(template=stream, time_base=stream.time_base)
        bwdif = self._graph.add("bwdif", "mode=send_frame:deint=interlaced")
        sink = self._graph.add("buffersink")
        source.link_to(bwdif)
        bwdif.link_to(sink)
        self._graph.configure()

    def feed(self, frame: VideoFrame | None) -> Iterator[VideoFrame]:
        """What is ready once `frame` is there; None is the end."""
        self._graph.push(frame)
        while True:
            try:
                found: Any = self._graph.pull()
            except (BlockingIOError, EOFError):
                return
            yield found


def frame_rate(fps: Fraction | float | None) -> tuple[Fraction, str | None]:
    """The rate that is taken, and what to tell where it is not the one that a source claims."""
    if fps is None or not fps > 0:  # not a number compares false
        return DEFAULT_FPS, None
    if fps > MAX_FPS:
        return DEFAULT_FPS, (
            f"it says that it has {float(fps):g} frames a second, which is not believed; "
            f"{DEFAULT_FPS} is taken"
        )
    return Fraction(fps).limit_denominator(100_000), None
