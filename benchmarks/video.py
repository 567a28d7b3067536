"""`python -m benchmarks.video`: objects in video, beside what each part could do alone.

Service, client and bare loops share all cores, as a user's machine has them. Contenders take turns,
round by round; a ratio is the median of the rounds' ratios.
"""

import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from itertools import islice
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import click
import cv2
import numpy as np

from clients.errors import SourceError
from clients.video.frame_source import FrameSource, SourceFrame
from clients.video.stream_settings import StreamSettings
from clients.video.watch import COUNTS, WatchReport, watch_video
from mlserver_streaming.vision.jpeg import Image

from .contenders.contenders import ROOT, ours
from .contenders.process import Contender, ContenderError
from .inputs.frames import frames
from .loads.frame_stream import drive, jpeg_request, latency, tensor_request
from .report import machine
from .rows.video_loops import detector_loop, frames_per_second, motion_loop

DATA = ROOT.parent / "shared" / "data"
FRAMES = 300
ALL_CORES = set(range(1024))
SOURCE_FPS, MODEL_FPS = 60, 15
Line = tuple[str, str, str]


@click.command()
@click.option("--video", default=str(DATA / "car_traffic.mp4"), help="Frames for all rows.")
@click.option(
    "--model",
    default=DATA / "models" / "yolov8n_int8.onnx",
    type=click.Path(path_type=Path),
    help="An ONNX detector; without it, its row is left out.",
)
@click.option("--rounds", default=5, show_default=True, help="Turns of each contender.")
@click.option("--seconds", default=3.0, show_default=True, help="Length of a turn.")
@click.option("--live-seconds", default=60.0, show_default=True, help="Of the live row; 0: none.")
@click.option(
    "--row",
    "wanted",
    multiple=True,
    type=click.Choice(["motion", "detector", "upstream", "live"]),
    help="Only these; left out: all.",
)
@click.option("--threads", default=1, show_default=True, help="onnxruntime's, on both sides.")
def main(
    video: str,
    model: Path,
    rounds: int,
    seconds: float,
    live_seconds: float,
    wanted: tuple[str, ...],
    threads: int,
) -> None:
    """Measure motion, detector, upstream and the live policy beside their targets."""
    try:
        with FrameSource(video) as source:
            images = _images(islice(iter(source.read, None), FRAMES))
    except SourceError as error:
        click.echo(f"{error}; the sample scene is taken.", err=True)
        with FrameSource("sample") as source:
            images = _images(iter(source.read, None))
    jpegs = [cv2.imencode(".jpg", image)[1].tobytes() for image in images]
    lines: list[Line] = []
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as name:
        folder = Path(name)
        try:
            if not wanted or "motion" in wanted:
                lines += motion(folder, jpegs, rounds, seconds)
            if model.is_file() and (not wanted or "detector" in wanted):
                lines += detector(folder, model, images, jpegs, rounds, seconds, threads)
            if not wanted or "upstream" in wanted:
                lines += upstream(folder, frames(), rounds, seconds)
            if live_seconds and (not wanted or "live" in wanted):
                lines += live(folder, images, live_seconds)
        except ContenderError as error:
            sys.exit(str(error))
    found = machine.describe()
    click.echo(
        f"{found['date']}; {found['machine']}; load before {found['load before']}; ", nl=False
    )
    click.echo(f"{rounds} rounds of {seconds:g} s, {images[0].shape[1]}x{images[0].shape[0]}.\n")
    click.echo("| figure | measured | asked |\n|---|---|---|")
    for line in lines:
        click.echo(f"| {' | '.join(line)} |")


def _images(frames: Iterable[SourceFrame]) -> list[Image]:
    return [frame.image for frame in frames if frame.image is not None]


def motion(folder: Path, jpegs: Sequence[bytes], rounds: int, seconds: float) -> list[Line]:
    with service(folder / "motion") as port:
        requests = [jpeg_request("motion", jpeg) for jpeg in jpegs]
        ratio, served, bare = compare(
            lambda: drive(port, requests, 4, seconds),
            lambda: frames_per_second(motion_loop(jpegs), seconds),
            rounds,
        )
    return [
        (
            "motion, one stream, 4 in flight / bare OpenCV loop",
            f"**{ratio:.2f}** ({served:.0f} / {bare:.0f} frames/s)",
            ">= 0.8",
        )
    ]


def detector(
    folder: Path,
    model: Path,
    images: Sequence[np.ndarray],
    jpegs: Sequence[bytes],
    rounds: int,
    seconds: float,
    threads: int,
) -> list[Line]:
    lines = []
    bare_loop = detector_loop(model, images[:30], threads)
    with service(
        folder / "detector", detector={"file": model, "inference_threads": threads}
    ) as port:
        for what, requests in (
            ("JPEG", [jpeg_request("detector", jpeg) for jpeg in jpegs[:30]]),
            ("UINT8 tensors", [tensor_request("detector", image) for image in images[:30]]),
        ):
            ratio, served, bare = compare(
                lambda requests=requests: drive(port, requests, 4, seconds),  # type: ignore[misc]
                lambda: frames_per_second(bare_loop, seconds),
                rounds,
            )
            lines.append(
                (
                    f"detector, {what}, 4 in flight / onnxruntime alone, {threads} thread(s)",
                    f"**{ratio:.2f}** ({served:.1f} / {bare:.1f} frames/s)",
                    ">= 0.9",
                )
            )
    return lines


def upstream(folder: Path, jpegs: Sequence[bytes], rounds: int, seconds: float) -> list[Line]:
    with service(folder / "there") as there, service(folder / "here", upstream=there) as here:
        direct = [jpeg_request("jpeg-model", jpeg) for jpeg in jpegs[:30]]
        behind = [jpeg_request("behind", jpeg) for jpeg in jpegs[:30]]
        ratio, served, bare = compare(
            lambda: drive(here, behind, 8, seconds),
            lambda: drive(there, direct, 8, seconds),
            rounds,
        )
        added = [
            latency(here, behind, seconds) - latency(there, direct, seconds) for _ in range(rounds)
        ]
    return [
        (
            "upstream, JPEG frames of 640x480, 8 in flight / direct",
            f"**{ratio:.2f}** ({served:.0f} / {bare:.0f} frames/s)",
            ">= 0.8",
        ),
        ("upstream, added p50 latency, 1 in flight", f"**{median(added) * 1000:.2f} ms**", "told"),
    ]


class Paced:
    """A camera: frames at a fixed rate, whether anybody takes them or not."""

    fps, frame_count, live = Fraction(SOURCE_FPS), None, True

    def __init__(self, images: Sequence[Any], seconds: float):
        self._images, self._count = images, round(seconds * SOURCE_FPS)
        self._index = 0

    def read(self) -> SourceFrame | None:
        if self._index == self._count:
            return None
        if not self._index:
            self._begun = time.perf_counter()
        due = self._begun + self._index / SOURCE_FPS
        time.sleep(max(due - time.perf_counter(), 0))
        image = self._images[self._index % len(self._images)]
        self._index += 1
        return SourceFrame(self._index - 1, due - self._begun, image, time.perf_counter())


def live(folder: Path, images: Sequence[Any], seconds: float) -> list[Line]:
    report = WatchReport()
    with service(folder / "live", models=("fifteen",)) as port:
        settings = StreamSettings(port=port, model="fifteen", resend=False)
        source: Any = Paced(images, seconds)
        watch_video(source, settings, folder / "results", report)
    text = (folder / "results" / COUNTS).read_text()
    found = [json.loads(line) for line in text.splitlines()]
    ages = [line["age_ms"] / (1000 / MODEL_FPS) for line in found]
    third = len(ages) // 3
    return [
        (
            f"live, {SOURCE_FPS} fps against {MODEL_FPS}, {seconds:g} s: end-to-end latency in "
            "frame times of the model, p50 / p99",
            f"**{median(ages):.2f} / {quantiles(ages, n=100)[98]:.2f}**",
            "< 3",
        ),
        (
            "the same, p50 of the first third / of the last",
            f"{median(ages[:third]):.2f} / {median(ages[-third:]):.2f} ({report.frames} answered, "
            f"{report.dropped} dropped)",
            "no growth",
        ),
    ]


@contextmanager
def service(
    folder: Path,
    *,
    detector: dict[str, Any] | None = None,
    upstream: int | None = None,
    models: Sequence[str] = (),
) -> Iterator[int]:
    """A service with more models than it ships, for as long as a block lasts; its gRPC port."""
    contender: Contender = ours(folder, ALL_CORES, *models)
    placed = folder / "model-settings"
    if detector is not None:
        shutil.copy(detector.pop("file"), placed / "detector" / "model.onnx")
        path = placed / "detector" / "model-settings.json"
        settings = json.loads(path.read_text())
        settings["parameters"]["extra"] |= detector
        path.write_text(json.dumps(settings))
    if upstream is not None:
        (placed / "behind").mkdir()
        settings = {
            "name": "behind",
            "implementation": "runtimes.upstream.UpstreamModel",
            "parameters": {
                "uri": f"grpc://127.0.0.1:{upstream}",
                "extra": {"model": "jpeg-model"},
            },
        }
        (placed / "behind" / "model-settings.json").write_text(json.dumps(settings))
    with contender:
        yield contender.grpc


def compare(
    served: Callable[[], float], bare: Callable[[], float], rounds: int
) -> tuple[float, float, float]:
    """The median ratio of two, and the medians of both; they take turns."""
    pairs = [(served(), bare()) for _ in range(rounds)]
    return (
        median(one / other for one, other in pairs),
        median(one for one, _ in pairs),
        median(other for _, other in pairs),
    )


if __name__ == "__main__":
    main()
