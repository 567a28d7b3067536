"""Watch a video through a model that finds objects: boxes on it, and JSON lines of them."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter, deque
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from mlserver_streaming.vision.annotate import annotate
from mlserver_streaming.vision.jpeg import Image

from ..errors import FrameError, LostFrameError, SourceError
from ..interrupt import Interrupt
from .detection_stream import Answer, DetectionStream
from .frame_buffer import FrameBuffer, Policy
from .frame_counts import FrameCounts
from .frame_source import FrameSource, SourceFrame
from .grpc_detections import Sight
from .picture_writer import PictureWriter
from .report import VideoReport
from .stream_settings import StreamSettings
from .window import Window
from .writer import VideoWriter

ANNOTATED, COUNTS, PICTURES = "annotated.mp4", "frame_counts.jsonl", "annotated"
# Frames on the wire: enough that the model never waits, or as few as keep a live picture fresh.
IN_FLIGHT = {Policy.WAIT: 8, Policy.LATEST: 1}
# Answered frames that wait to be drawn; past it no more are sent.
TO_DRAW = 8


@dataclass(frozen=True)
class WatchSettings:
    """How a source is watched.

    Attributes:
        policy: None is the source's own: a live one keeps the latest, others wait.
        in_flight: frames on the wire; None is the policy's own.
        pictures: keep each frame as a picture of its own size, in place of the video.
    """

    policy: Policy | None = None
    in_flight: int | None = None
    stride: int = 1
    fps_cap: float | None = None
    max_frames: int | None = None
    show: bool = False
    pictures: bool = False


@dataclass
class WatchReport(VideoReport):
    """What was seen: the report of a video, and counts by label, tracks and frames left out."""

    dropped: int = 0
    lost: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    tracks: set[int] = field(default_factory=set)

    def see(self, answer: Answer) -> None:
        """Count one answer."""
        self.add(answer.latency, answer.error)
        self.lost += isinstance(answer.error, LostFrameError)
        self.counts.update(answer.sight.labels)
        self.tracks.update(number for number in answer.sight.track_ids or () if number >= 0)

    def __str__(self) -> str:
        found = ", ".join(f"{count} {label}" for label, count in self.counts.most_common())
        tracks = f" in {len(self.tracks)} tracks" if self.tracks else ""
        return f"{super().__str__()}, {self.dropped} dropped; detections: {found or 'none'}{tracks}"


def watch_video(
    source: FrameSource,
    stream: StreamSettings,
    results: Path,
    report: WatchReport,
    settings: WatchSettings | None = None,
) -> None:
    """Stream an open source through a model, into `annotated.mp4` (or the folder `annotated`, of
    pictures) and `frame_counts.jsonl`.

    `report` is filled as it goes: after an error, or Ctrl-C, both files hold what was done so far.
    Raises SourceError, ResultError, what DetectionStream raises, and FrameError when every frame
    failed.
    """
    settings = settings or WatchSettings()
    if settings.policy is Policy.LATEST and not source.live:
        # A file that is not waited for stands for a camera: at once, nearly all would be dropped.
        source.realtime = True
    writer: VideoWriter | PictureWriter
    if settings.pictures:
        writer = PictureWriter(results / PICTURES)
    else:
        writer = VideoWriter(results / ANNOTATED, source.fps / settings.stride)
    try:
        with Interrupt() as interrupt, writer, FrameCounts(results / COUNTS) as counts:
            report.start()
            try:
                interrupt.run(_Watch(source, stream, writer, counts, report, settings).run())
            finally:
                report.stop()
    finally:
        if writer.written:
            report.written += [writer.path, results / COUNTS]
    if report.frames == 0:
        raise SourceError("the source holds no frame")
    if report.first_error is not None and report.failed == report.frames:
        raise report.first_error


def default_policy(source: FrameSource) -> Policy:
    """A live source does not wait for us, nor one that stands for it; any other does."""
    return Policy.LATEST if source.live or source.realtime else Policy.WAIT


class _Watch:
    """One run: a task sends frames, another writes their answers, in the order of the frames."""

    def __init__(
        self,
        source: FrameSource,
        stream: StreamSettings,
        writer: VideoWriter | PictureWriter,
        counts: FrameCounts,
        report: WatchReport,
        settings: WatchSettings,
    ) -> None:
        self._source, self._writer, self._counts, self._report = source, writer, counts, report
        self._settings = settings
        self._policy = settings.policy or default_policy(source)
        self._stream = DetectionStream(stream)
        self._window = Window() if settings.show else None

    async def run(self) -> None:
        limits = [self._source.frame_count, self._settings.max_frames]
        if limits[0] is not None:
            limits[0] = -(-limits[0] // self._settings.stride)
        total = min((limit for limit in limits if limit is not None), default=None)
        async with self._stream:
            buffer = FrameBuffer(
                self._source,
                self._policy,
                stride=self._settings.stride,
                fps_cap=self._settings.fps_cap,
                max_frames=self._settings.max_frames,
            )
            try:
                # Not before the stream is open: an error then has a clean line.
                with tqdm(total=total, unit=" frames", file=sys.stderr) as progress:
                    async with aclosing(self._answers(buffer)) as answers:
                        async for frame, answer in answers:
                            self._report.dropped = buffer.dropped
                            self._report.see(answer)
                            self._counts.write(frame, answer, buffer.dropped)
                            if not await self._draw(frame, answer):
                                break
                            self._tell(progress, answer)
                    # Not every header keeps its promise.
                    progress.total = progress.n
            finally:
                buffer.close()

    async def _answers(
        self, buffer: FrameBuffer
    ) -> AsyncGenerator[tuple[SourceFrame, Answer], None]:
        """Every frame with its answer, as many on the wire as may be."""
        room = asyncio.Semaphore(self._settings.in_flight or IN_FLIGHT[self._policy])
        asked: asyncio.Queue[tuple[SourceFrame, asyncio.Task[Answer]] | None] = asyncio.Queue(
            TO_DRAW
        )

        async def send_all() -> None:
            try:
                while True:
                    # Room first, so that the frame is the latest when it goes.
                    await room.acquire()
                    await self._stream.connected()
                    if (frame := await buffer.get()) is None:
                        return
                    if frame.image is None:
                        task = asyncio.create_task(_unasked(frame))
                    else:
                        made = await self._stream.request(frame.image)
                        task = asyncio.create_task(self._stream.ask(frame.image, made))
                    task.add_done_callback(lambda _: room.release())
                    await asked.put((frame, task))
            finally:
                await asked.put(None)

        sending = asyncio.create_task(send_all())
        waiting: deque[asyncio.Task[Answer]] = deque()
        try:
            while (entry := await asked.get()) is not None:
                frame, task = entry
                waiting.append(task)
                answer = await task
                waiting.popleft()
                yield frame, answer
            await sending
        finally:
            sending.cancel()
            while not asked.empty():
                if (left := asked.get_nowait()) is not None:
                    waiting.append(left[1])
            for task in waiting:
                task.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await asyncio.gather(sending, *waiting, return_exceptions=True)

    async def _draw(self, frame: SourceFrame, answer: Answer) -> bool:
        """Write the frame with what was seen in it; False once the window is closed."""
        if frame.image is None:
            return True
        picture = await asyncio.to_thread(self._picture, frame, frame.image, answer)
        return self._window is None or self._window.show(picture)

    def _picture(self, frame: SourceFrame, image: Image, answer: Answer) -> Image:
        sight = answer.sight
        picture = sight.image
        if picture is None:
            picture = annotate(image, sight.detections, sight.labels, sight.track_ids)
        if isinstance(self._writer, PictureWriter):
            self._writer.write(picture, frame.name or f"{frame.index:06d}")
        else:
            self._writer.write(picture, frame.time, self._source.pixel_aspect)
        return picture

    def _tell(self, progress: tqdm[Any], answer: Answer) -> None:
        seen = len(answer.sight.labels)
        progress.set_postfix_str(
            f"{answer.latency * 1000:.0f} ms, {seen} found, {self._report.dropped} dropped"
            + (f", {self._report.failed} failed" if self._report.failed else ""),
            refresh=False,
        )
        progress.update()


async def _unasked(frame: SourceFrame) -> Answer:
    """What becomes of a frame that is none: the model is not asked."""
    return Answer(Sight(), FrameError(str(frame.error)), 0.0, frame.read_at)
