"""Stream a video through a model and keep the result as an .mp4 that plays in a browser.

python -m clients.video_client --source sample
"""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import aclosing
from pathlib import Path

import click
import cv2
from tqdm import tqdm

from clients.command import GRPC_PORT, TIMEOUT_S, option, reported, server_options
from clients.errors import SourceError
from clients.jpeg_stream import IN_FLIGHT, JpegStream
from clients.video_report import VideoReport
from clients.video_source import SAMPLE, VideoSource, open_source
from clients.video_writer import VideoWriter
from vision.jpeg import Image

# The exit status of a program ended by Ctrl-C, as shells count it.
INTERRUPTED = 130
_WINDOW = "video_client"
NO_WINDOW = "No window: there is no display, or this OpenCV has none built in (headless)."


def run_video(
    name: str,
    stream: JpegStream,
    output: Path,
    report: VideoReport,
    *,
    timeout: float = TIMEOUT_S,
    max_frames: int | None = None,
    show: bool = False,
) -> None:
    """Stream the video `name` (see `open_source`) through `stream`, not yet open, to an .mp4.

    `report` is filled as it goes: after an error, or Ctrl-C, it tells of what was done so far, and
    `output` holds it. Raises SourceError, ResultError, what JpegStream raises, and FrameError when
    every frame failed.
    """
    with open_source(name, timeout) as source, VideoWriter(output, source.fps) as writer:
        report.start()
        try:
            asyncio.run(
                _stream_video(source, stream, writer, report, max_frames=max_frames, show=show)
            )
        finally:
            report.stop()
    if report.frames == 0:
        raise SourceError(f"{name} holds no frame")
    if report.first_error is not None and report.failed == report.frames:
        raise report.first_error


async def _stream_video(
    source: VideoSource,
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
    owed = 0
    window = _Window() if show else None
    limits = [count for count in (source.frame_count, max_frames) if count is not None]
    async with (
        stream,
        aclosing(source.frames(max_frames)) as frames,
        aclosing(stream.responses(frames)) as responses,
    ):
        # Not before the stream is open: an error then has a clean line.
        with tqdm(total=min(limits, default=None), unit=" frames", file=sys.stderr) as progress:
            async for response in responses:
                report.add(response.latency, response.error)
                progress.update()
                owed += 1
                good = good if response.image is None else response.image
                if good is None:
                    continue
                for _ in range(owed):
                    # The encoder in a thread: the stream goes on meanwhile.
                    await asyncio.to_thread(writer.write, good)
                owed = 0
                if window is not None and not window.show(good):
                    return
            # Not every header keeps its promise.
            progress.total = progress.n


class _Window:
    """A window with the result, where there is a display."""

    def __init__(self) -> None:
        # Qt ends the whole process when it finds no display.
        displays = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
        self._works = bool(displays) or not sys.platform.startswith("linux")
        if not self._works:
            tqdm.write(NO_WINDOW, file=sys.stderr)

    def show(self, image: Image) -> bool:
        """Show one image; False once the user has pressed q or Esc."""
        if not self._works:
            return True
        try:
            cv2.imshow(_WINDOW, image)
            return cv2.waitKey(1) & 0xFF not in (ord("q"), 27)
        except cv2.error:
            self._works = False
            tqdm.write(NO_WINDOW, file=sys.stderr)
            return True


@click.command()
@server_options(port=GRPC_PORT, model="jpeg-model")
@option(
    "--source",
    envvar="CLIENT_SOURCE",
    default=SAMPLE,
    help="A video file, the index of a camera, a URL, or 'sample': a generated moving scene.",
)
@option(
    "--in-flight",
    envvar="CLIENT_IN_FLIGHT",
    default=IN_FLIGHT,
    type=click.IntRange(min=1),
    help="Frames on the wire at a time.",
)
@option(
    "--sequence-id",
    envvar="CLIENT_SEQUENCE_ID",
    help="Name of the sequence that the frames belong to (left out: one is made up; '': none).",
)
@option(
    "--results-dir",
    envvar="CLIENT_RESULTS_DIR",
    default=Path("results"),
    type=click.Path(path_type=Path),
    help="Folder for output.mp4.",
)
@option(
    "--output",
    envvar="CLIENT_OUTPUT",
    type=click.Path(path_type=Path),
    help="Path of the .mp4, in place of output.mp4 in the results folder.",
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
def main(
    host: str,
    port: int,
    model: str,
    timeout: float,
    source: str,
    in_flight: int,
    sequence_id: str | None,
    results_dir: Path,
    output: Path | None,
    max_frames: int | None,
    show: bool,
) -> None:
    """Stream a video through a model and keep the result as an .mp4 that plays in a browser.

    Ends with a summary line. A failed frame is counted and shows the good frame before it. Ctrl-C
    ends the file properly.
    """
    path = output or results_dir / "output.mp4"
    stream = JpegStream(
        host=host,
        port=port,
        model=model,
        timeout=timeout,
        in_flight=in_flight,
        sequence_id=sequence_id,
    )
    report = VideoReport()
    with reported():
        try:
            run_video(
                source, stream, path, report, timeout=timeout, max_frames=max_frames, show=show
            )
        except KeyboardInterrupt:
            raise SystemExit(INTERRUPTED) from None
        finally:
            if report.frames:
                click.echo(report)
            if report.frames > report.failed:
                click.echo(f"Written to {path}")


if __name__ == "__main__":
    main()
