"""`python -m benchmarks.video`: objects in video, beside what each part could do alone.

Service, client and bare loops share all cores, as a user's machine has them, and take turns; a
ratio is the median of the rounds' ratios. The bare loops, plain OpenCV and onnxruntime, share no
code with the runtimes that they are measured against.
"""

import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from functools import partial
from itertools import islice
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import click
import cv2
import numpy as np
from mlserver.grpc import dataplane_pb2 as pb

from clients.errors import SourceError
from clients.grpc_messages import bytes_request, raw_request
from clients.video.frame_source import FrameSource, SourceFrame
from clients.video.stream_settings import StreamSettings
from clients.video.watch import COUNTS, WatchReport, watch_video

from .contenders.contenders import ROOT, change_model, ours
from .contenders.process import ContenderError, Target
from .inputs.frames import frame_requests
from .loads.grpc_load import grpc_messages
from .loads.load_process import run
from .report import machine
from .rows.measured import RATE

DATA = ROOT.parent / "shared" / "data"
FRAMES = 60
SIDE = 640
ALL_CORES = set(range(1024))
SOURCE_FPS, MODEL_FPS = 60, 15
Line = tuple[str, str, str]
ROWS = ("motion", "detector", "upstream", "live")


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
@click.option("--row", "wanted", multiple=True, type=click.Choice(ROWS), help="Only these.")
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
    images = _images(video)
    found = machine.describe()
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as name:
        folder = Path(name)
        rows: dict[str, Callable[[], list[Line]]] = {
            "motion": lambda: motion(folder, images, rounds, seconds),
            "detector": lambda: detector(folder, model, images[:30], rounds, seconds, threads),
            "upstream": lambda: upstream(folder, rounds, seconds),
            "live": lambda: live(folder, images, live_seconds),
        }
        if not model.is_file():
            del rows["detector"]
        if not live_seconds:
            del rows["live"]
        try:
            lines = [line for row in rows if row in (wanted or ROWS) for line in rows[row]()]
        except ContenderError as error:
            sys.exit(str(error))
    click.echo(f"{found['date']}; {found['machine']}; load before {found['load before']}; ")
    click.echo(f"{rounds} rounds of {seconds:g} s, {images[0].shape[1]}x{images[0].shape[0]}.\n")
    click.echo("| figure | measured | asked |\n|---|---|---|")
    for line in lines:
        click.echo(f"| {' | '.join(line)} |")


def _images(video: str) -> list[Any]:
    try:
        with FrameSource(video) as source:
            frames = list(islice(iter(source.read, None), FRAMES))
    except SourceError as error:
        click.echo(f"{error}; the sample scene is taken.", err=True)
        with FrameSource("sample") as source:
            frames = list(islice(iter(source.read, None), FRAMES))
    return [frame.image for frame in frames if frame.image is not None]


def motion(folder: Path, images: Sequence[Any], rounds: int, seconds: float) -> list[Line]:
    jpegs = _jpegs(images)
    with service(folder / "motion") as target:
        served = partial(rate, target, jpeg_requests("motion", jpegs), 4, seconds)
        figures = compare(served, partial(loop, motion_loop(jpegs), seconds), rounds)
    return [("motion, one stream, 4 in flight / bare OpenCV loop", figures, ">= 0.8")]


def detector(
    folder: Path, model: Path, images: Sequence[Any], rounds: int, seconds: float, threads: int
) -> list[Line]:
    lines = []
    bare = partial(loop, detector_loop(model, images, threads), seconds)
    with service(folder / "detector", onnx=model, inference_threads=threads) as target:
        for what, requests in (
            ("JPEG", jpeg_requests("detector", _jpegs(images))),
            ("UINT8 tensors", [tensor_request("detector", image) for image in images]),
        ):
            figures = compare(partial(rate, target, requests, 4, seconds), bare, rounds)
            title = f"detector, {what}, 4 in flight / onnxruntime alone, {threads} thread(s)"
            lines.append((title, figures, ">= 0.9"))
    return lines


def upstream(folder: Path, rounds: int, seconds: float) -> list[Line]:
    with (
        service(folder / "there") as there,
        service(folder / "here", upstream=there.grpc) as here,
    ):
        direct, behind = frame_requests("jpeg-model"), frame_requests("behind")
        figures = compare(
            partial(rate, here, behind, 8, seconds),
            partial(rate, there, direct, 8, seconds),
            rounds,
        )
        added = [
            1 / rate(here, behind, 1, seconds) - 1 / rate(there, direct, 1, seconds)
            for _ in range(rounds)
        ]
    return [
        ("upstream, JPEG frames of 640x480, 8 in flight / direct", figures, ">= 0.8"),
        ("upstream, added latency, 1 in flight", f"**{median(added) * 1000:.2f} ms**", "told"),
    ]


class Camera:
    """Frames at a fixed rate, whether anybody takes them or not."""

    fps, frame_count, live = Fraction(SOURCE_FPS), None, True
    pixel_aspect = Fraction(1)

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
    with service(folder / "live", "fifteen") as target:
        settings = StreamSettings(port=target.grpc, model="fifteen", resend=False)
        source: Any = Camera(images, seconds)
        watch_video(source, settings, folder / "results", report)
    text = (folder / "results" / COUNTS).read_text()
    ages = [json.loads(line)["age_ms"] / (1000 / MODEL_FPS) for line in text.splitlines()]
    third = len(ages) // 3
    first, last = median(ages[:third]), median(ages[-third:])
    counts = f"{report.frames} answered, {report.dropped} dropped"
    return [
        (
            f"live, {SOURCE_FPS} fps against {MODEL_FPS}, {seconds:g} s: end-to-end latency in "
            "frame times of the model, p50 / p99",
            f"**{median(ages):.2f} / {quantiles(ages, n=100)[98]:.2f}**",
            "< 3",
        ),
        (
            "the same, p50 of the first third / of the last",
            f"{first:.2f} / {last:.2f} ({counts})",
            "no growth",
        ),
    ]


@contextmanager
def service(
    folder: Path, *models: str, onnx: Path | None = None, upstream: int = 0, **detector: Any
) -> Iterator[Target]:
    """A service with more models than it ships, for as long as a block lasts."""
    contender = ours(folder, ALL_CORES, *models)
    placed = folder / "model-settings"
    if onnx is not None:
        shutil.copy(onnx, placed / "detector" / "model.onnx")
        change_model(folder, "detector", **detector)
    if upstream:
        (placed / "behind").mkdir()
        uri, extra = f"grpc://127.0.0.1:{upstream}", {"model": "jpeg-model"}
        settings = {
            "name": "behind",
            "implementation": "runtimes.upstream.UpstreamModel",
            "parameters": {"uri": uri, "extra": extra},
        }
        (placed / "behind" / "model-settings.json").write_text(json.dumps(settings))
    with contender:
        yield contender.target


def rate(target: Target, requests: Sequence[bytes], in_flight: int, seconds: float) -> float:
    """Frames a second of one stream. Raises AnswerError where an answer is none."""
    window = (target, seconds, requests, has_outputs, in_flight, 1, True, False, True)
    found: float = run(grpc_messages, *window).figures[RATE]
    return found


def has_outputs(index: int, answer: bytes) -> bool:
    return bool(pb.ModelInferResponse.FromString(answer).outputs)


def compare(served: Callable[[], float], bare: Callable[[], float], rounds: int) -> str:
    """The median ratio of two, and the medians of both; they take turns."""
    pairs = [(served(), bare()) for _ in range(rounds)]
    one, other = (median(each) for each in zip(*pairs, strict=True))
    ratio = median(one / other for one, other in pairs)
    return f"**{ratio:.2f}** ({one:.1f} / {other:.1f} frames/s)"


def _jpegs(images: Sequence[Any]) -> list[bytes]:
    return [cv2.imencode(".jpg", image)[1].tobytes() for image in images]


def jpeg_requests(model: str, jpegs: Sequence[bytes]) -> list[bytes]:
    return [
        bytes_request(jpeg, model=model, request_id="", tensor="image").SerializeToString()
        for jpeg in jpegs
    ]


def tensor_request(model: str, image: Any) -> bytes:
    """A frame as a UINT8 tensor [1, 3, SIDE, SIDE], RGB."""
    tensor = np.ascontiguousarray(cv2.resize(image, (SIDE, SIDE))[:, :, ::-1].transpose(2, 0, 1))
    what: dict[str, Any] = {"datatype": "UINT8", "shape": [1, 3, SIDE, SIDE], "tensor": "images"}
    return raw_request(tensor.tobytes(), model=model, request_id="", **what).SerializeToString()


def loop(work: Callable[[int], Any], seconds: float) -> float:
    """How often `work`, given 0, 1, 2, ..., is done in a second."""
    done, begun = 0, time.perf_counter()
    while time.perf_counter() < begun + seconds:
        work(done)
        done += 1
    return done / (time.perf_counter() - begun)


def motion_loop(jpegs: Sequence[bytes]) -> Callable[[int], Any]:
    """Decode, subtract the background, clean the mask, find outlines."""
    subtractor = cv2.createBackgroundSubtractorMOG2(500, 20, detectShadows=False)
    subtractor.setBackgroundRatio(0.7)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))

    def work(index: int) -> Any:
        data = np.frombuffer(jpegs[index % len(jpegs)], np.uint8)
        image: Any = cv2.imdecode(data, cv2.IMREAD_COLOR)
        mask = subtractor.apply(image)
        mask = cv2.morphologyEx(mask, cv2.MORPH_OPEN, kernel)
        mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, kernel)
        outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        return [cv2.boundingRect(each) for each in outlines]

    return work


def detector_loop(path: Path, images: Sequence[Any], threads: int) -> Callable[[int], Any]:
    """onnxruntime alone, over frames that lie ready as tensors."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    tensors = [letterboxed(image) for image in images]
    return lambda index: session.run(None, {name: tensors[index % len(tensors)]})


def letterboxed(image: Any) -> Any:
    """float32 [1, 3, SIDE, SIDE], RGB from 0 to 1, grey where there is no image."""
    height, width = image.shape[:2]
    scale = SIDE / max(height, width)
    small = cv2.resize(image, (round(width * scale), round(height * scale)))
    canvas = np.full((SIDE, SIDE, 3), 114, np.uint8)
    top, left = (SIDE - small.shape[0]) // 2, (SIDE - small.shape[1]) // 2
    canvas[top : top + small.shape[0], left : left + small.shape[1]] = small
    return np.ascontiguousarray(canvas[:, :, ::-1].transpose(2, 0, 1)[None], np.float32) / 255


if __name__ == "__main__":
    main()
