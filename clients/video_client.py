"""Stream a video through a model and keep the result as an .mp4 that plays in a browser.

python -m clients.video_client --source sample
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Any

import click

from mlserver_streaming.extras import needed_by
from mlserver_streaming.vision.jpeg import Image

from .command import GRPC_PORT, option, reported, server_options
from .credentials import Credentials
from .errors import FrameError, SourceError
from .interrupt import Interrupt
from .jpeg_stream import IN_FLIGHT, JpegStream
from .tls import Tls

with needed_by("The video client", "clients", __name__):
    from tqdm import tqdm

    from .video.frame_buffer import Policy
    from .video.frame_source import FrameSource, SourceFrame
    from .video.options import stream_settings, watch_options, watch_settings
    from .video.report import VideoReport
    from .video.source import SAMPLE
    from .video.watch import WatchReport, default_policy, watch_video
    from .video.window import Window
    from .video.writer import VideoWriter

# The exit status of a program ended by Ctrl-C, as shells count it.
INTERRUPTED = 130
JPEG_MODEL = "jpeg-model"


def run_video(
    source: FrameSource,
    stream: JpegStream,
    output: Path,
    report: VideoReport,
    *,
    max_frames: int | None = None,
    show: bool = False,
) -> None:
    """Stream an open source through `stream`, not yet open, to an .mp4.

    `report` is filled as it goes: after an error, or Ctrl-C, it tells of what was done so far, and
    `output` holds it. Raises SourceError, ResultError, what JpegStream raises, and FrameError when
    every frame failed.
    """
    writer = VideoWriter(output, source.fps)
    try:
        with Interrupt() as interrupt, writer:
            report.start()
            try:
                interrupt.run(
                    _stream_video(source, stream, writer, report, max_frames=max_frames, show=show)
                )
            finally:
                report.stop()
    finally:
        if writer.written:
            report.written.append(output)
    if report.frames == 0:
        raise SourceError("the source holds no frame")
    if report.first_error is not None and report.failed == report.frames:
        raise report.first_error


async def _stream_video(
    source: FrameSource,
    stream: JpegStream,
    writer: VideoWriter,
    report: VideoReport,
    *,
    max_frames: int | None,
    show: bool,
) -> None:
    """The file keeps the time of the source: in place of a failed frame stands the good one before
    it, or the first good one where there was none before.
    """
    good: Image | None = None
    owed: list[float] = []
    read: deque[SourceFrame] = deque()
    window = Window() if show else None
    limits = [count for count in (source.frame_count, max_frames) if count is not None]

    async def images() -> AsyncGenerator[Image, None]:
        count = 0
        while max_frames is None or count < max_frames:
            # In a thread: decoding and cameras block.
            if (frame := await asyncio.to_thread(source.read)) is None:
                return
            count += 1
            read.append(frame)
            if frame.image is not None:
                yield frame.image

    def pass_over() -> None:
        """Count the pictures that were none, up to the next that was sent."""
        while read and read[0].image is None:
            frame = read.popleft()
            report.add(0.0, FrameError(str(frame.error)))
            owed.append(frame.time)

    async with (
        stream,
        aclosing(images()) as frames,
        aclosing(stream.responses(frames)) as responses,
    ):
        # Not before the stream is open: an error then has a clean line.
        with tqdm(total=min(limits, default=None), unit=" frames", file=sys.stderr) as progress:
            async for response in responses:
                pass_over()
                owed.append(read.popleft().time)
                report.add(response.latency, response.error)
                progress.update()
                good = good if response.image is None else response.image
                if good is None:
                    continue
                for time in owed:
                    # The encoder in a thread: the stream goes on meanwhile.
                    await asyncio.to_thread(writer.write, good, time, source.pixel_aspect)
                owed.clear()
                if window is not None and not window.show(good):
                    return
            pass_over()
            # Not every header keeps its promise.
            progress.total = progress.n


@click.command()
@server_options(port=GRPC_PORT, model=JPEG_MODEL)
@option(
    "--source",
    envvar="CLIENT_SOURCE",
    default=SAMPLE,
    help="A video file, the index of a camera, a URL (RTSP, HTTP), a folder of pictures, '-' for "
    "JPEGs on stdin, or 'sample': a generated moving scene.",
)
@option(
    "--in-flight",
    envvar="CLIENT_IN_FLIGHT",
    type=click.IntRange(min=1),
    help=f"Frames on the wire at a time (left out: {IN_FLIGHT}, and 1 of a live source).",
)
@option(
    "--sequence-id",
    envvar="CLIENT_SEQUENCE_ID",
    help="Name of the sequence that the frames belong to (left out: jpeg-model gets one that is "
    "made up, other models none; '': none).",
)
@option(
    "--results-dir",
    envvar="CLIENT_RESULTS_DIR",
    default=Path("results"),
    type=click.Path(path_type=Path),
    help="Folder for annotated.mp4 and frame_counts.jsonl, or jpeg-model's output.mp4.",
)
@option(
    "--output",
    envvar="CLIENT_OUTPUT",
    type=click.Path(path_type=Path),
    help="Path of jpeg-model's .mp4, in place of output.mp4 in the results folder.",
)
@option(
    "--max-frames",
    envvar="CLIENT_MAX_FRAMES",
    type=click.IntRange(min=1),
    help="Stop after this many frames (left out: at the source's end).",
)
@option(
    "--show", is_flag=True, envvar="CLIENT_SHOW", help="Show the result in a window; q closes it."
)
@watch_options
def main(
    host: str,
    port: int,
    model: str,
    timeout: float,
    tls: Tls | None,
    credentials: Credentials,
    source: str,
    in_flight: int | None,
    sequence_id: str | None,
    results_dir: Path,
    output: Path | None,
    max_frames: int | None,
    show: bool,
    **flags: Any,
) -> None:
    """Stream a video through a model and keep the result as an .mp4 that plays in a browser.

    A model that finds objects (motion, detector) leaves annotated.mp4, the video with boxes, and
    frame_counts.jsonl, a line of JSON for each frame; jpeg-model leaves output.mp4.

    Ends with a summary line. A failed frame is counted. Ctrl-C ends the files properly.
    """
    address: dict[str, Any] = {"host": host, "port": port, "model": model, "timeout": timeout}
    address |= {"tls": tls, "credentials": credentials}
    report: VideoReport
    if model == JPEG_MODEL:
        report = VideoReport()
        path = output or results_dir / "output.mp4"
        stream = JpegStream(
            **address,
            in_flight=in_flight or IN_FLIGHT,
            sequence_id=sequence_id,
            shared_memory=flags["shared_memory"],
        )

        def run() -> None:
            with _opened(source, flags) as opened:
                run_video(opened, stream, path, report, max_frames=max_frames, show=show)

    else:
        report = seen = WatchReport()

        def run() -> None:
            with _opened(source, flags) as opened:
                common = {"max_frames": max_frames, "in_flight": in_flight, "show": show}
                settings = watch_settings(flags, **common)
                resend = (settings.policy or default_policy(opened)) is Policy.WAIT
                stream = stream_settings(
                    flags,
                    **address,
                    sequence_id=sequence_id,
                    resend=resend,
                )
                watch_video(opened, stream, results_dir, seen, settings)

    with reported():
        try:
            run()
        except KeyboardInterrupt:
            raise SystemExit(INTERRUPTED) from None
        finally:
            if report.frames:
                click.echo(report)
            if report.written:
                click.echo(f"Written to {' and '.join(map(str, report.written))}")


def _opened(name: str, flags: Mapping[str, Any]) -> FrameSource:
    """The source, read as the flags want it; what is to be told of it is told."""
    source = FrameSource(name, connect_s=flags["connect_timeout"], retry_s=flags["retry_seconds"])
    source.realtime = flags["realtime"] and not source.live
    if source.note is not None:
        click.echo(f"{name}: {source.note}.", err=True)
    return source


if __name__ == "__main__":
    main()
