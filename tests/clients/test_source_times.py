"""A source's own time, rate and shape come through: read, sent, told and written."""

import http.server
import json
import os
import signal
import struct
import threading
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result

from clients.video.frame_source import FrameSource, SourceFrame
from clients.video.writer import VideoWriter
from clients.video_client import INTERRUPTED, main
from mlserver_streaming.vision.jpeg import decode, encode
from mlserver_streaming.vision.scene import moving_scene
from tests.clients.detections import detections_response
from tests.clients.responses import element, raw_response

# Milliseconds, as somebody's screen recording had them.
VARIABLE = [0, 33, 66, 100, 600, 1100, 1600, 2100, 2133, 2166]
MILLISECONDS = Fraction(1, 1000)


def make(
    path: Path,
    pts: list[int],
    time_base: Fraction = MILLISECONDS,
    rate: Fraction = Fraction(30),
    codec: str = "libx264",
    size: tuple[int, int] = (160, 96),
    aspect: Fraction = Fraction(1),
    interlaced: bool = False,
) -> Path:
    """A video whose picture `n` has a white column at 10 n, and stands at `pts[n]`."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=rate)
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = time_base
        stream.codec_context.sample_aspect_ratio = aspect
        if interlaced:
            stream.options = {"flags": "+ilme+ildct", "x264-params": "tff=1"}
        for index, each in enumerate(pts):
            image = np.zeros((size[1], size[0], 3), np.uint8)
            image[:, index * 10 % size[0] :][:, :10] = 255
            if interlaced:
                image[1::2] = np.roll(image[1::2], 40, axis=1)
            frame: Any = av.VideoFrame.from_ndarray(image, format="bgr24")
            frame.pts, frame.time_base = each, time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def frames_of(name: str) -> list[SourceFrame]:
    with FrameSource(name) as source:
        return list(iter(source.read, None))


def times_of(name: str) -> list[float]:
    return [frame.time for frame in frames_of(name)]


def length_of(path: Path) -> float:
    with av.open(str(path)) as container:
        return (container.duration or 0) / 1e6


@pytest.fixture
def watch(tmp_path: Path, serve_grpc: Any) -> Callable[..., Result]:
    """Run the client on a source; every frame has one car."""

    def answer(requests: Iterator[Any], context: Any) -> Iterator[Any]:
        for request in requests:
            yield detections_response(request.id, [[10, 10, 60, 50]], ["car"])

    usual = ["--model", "objects", "--results-dir", str(tmp_path / "out")]

    def run(source: Path | str, *flags: str) -> Result:
        port = str(serve_grpc(answer))
        result = CliRunner().invoke(
            main,
            [*usual, "--port", port, "--source", str(source), *flags],
        )
        assert result.exit_code == 0, result.output
        return result

    return run


def lines_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "frame_counts.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("name", ["a.mkv", "a.mp4", "a.ts"])
def test_a_variable_rate(name: str, tmp_path: Path, watch: Any) -> None:
    scale = 1 if name.endswith("mkv") else 90
    source = make(tmp_path / name, [each * scale for each in VARIABLE], MILLISECONDS / scale)
    watch(source)
    seconds = [each / 1000 for each in VARIABLE]
    lines = lines_of(tmp_path / "out")
    assert [line["time"] for line in lines] == pytest.approx(seconds, abs=0.001)
    annotated = tmp_path / "out" / "annotated.mp4"
    assert times_of(str(annotated)) == pytest.approx(seconds, abs=0.001)
    assert length_of(annotated) == pytest.approx(2.2, abs=0.005)


def test_a_variable_rate_through_jpeg_model(tmp_path: Path, serve_grpc: Any) -> None:
    def echo(requests: Iterator[Any], context: Any) -> Iterator[Any]:
        for request in requests:
            yield raw_response(request.id, "output_image", element(request.raw_input_contents[0]))

    source = make(tmp_path / "a.mkv", VARIABLE)
    flags = ["--port", str(serve_grpc(echo)), "--results-dir", str(tmp_path), "--sequence-id", ""]
    result = CliRunner().invoke(main, [*flags, "--source", str(source)])
    assert result.exit_code == 0, result.output
    expected = [each / 1000 for each in VARIABLE]
    assert times_of(str(tmp_path / "output.mp4")) == pytest.approx(expected, abs=0.001)


def test_a_camera_that_was_silent(tmp_path: Path) -> None:
    pts = [each * 33 if each < 15 else each * 33 + 3000 for each in range(30)]
    times = times_of(str(make(tmp_path / "a.mkv", pts)))
    assert times[15] == pytest.approx(3.495)
    assert times[29] == pytest.approx(3.957)


def test_a_cap_thins_by_time_and_a_stride_by_number(tmp_path: Path, watch: Any) -> None:
    source = make(tmp_path / "a.mkv", VARIABLE)
    watch(source, "--fps-cap", "4")
    lines = lines_of(tmp_path / "out")
    assert [line["time"] for line in lines] == [0, 0.6, 1.1, 1.6, 2.1]
    watch(source, "--stride", "3")
    assert [line["frame"] for line in lines_of(tmp_path / "out")] == [0, 3, 6, 9]


@pytest.mark.parametrize("rate", [Fraction(24005, 100), Fraction(480), Fraction(30000, 1001)])
def test_a_rate_is_the_file_s_own(rate: Fraction, tmp_path: Path, watch: Any) -> None:
    source = make(tmp_path / "a.mp4", list(range(24)), 1 / rate, rate)
    with FrameSource(str(source)) as opened:
        assert (opened.fps, opened.note) == (rate, None)
    watch(source)
    with av.open(str(tmp_path / "out" / "annotated.mp4")) as container:
        assert container.streams.video[0].average_rate == rate
    assert length_of(tmp_path / "out" / "annotated.mp4") == pytest.approx(24 / rate, abs=0.001)


def test_a_file_that_begins_late_and_one_whose_clock_is_set_anew(tmp_path: Path) -> None:
    late = make(tmp_path / "late.mp4", [each * 40 + 5000 for each in range(5)])
    assert times_of(str(late)) == pytest.approx([0, 0.04, 0.08, 0.12, 0.16])
    # Two recordings in one file, as one who joins transport streams gets it.
    pieces = [
        make(
            tmp_path / f"{n}.ts",
            [each * 3600 for each in range(5)],
            Fraction(1, 90_000),
            Fraction(25),
        )
        for n in (1, 2)
    ]
    joined = tmp_path / "joined.ts"
    joined.write_bytes(b"".join(piece.read_bytes() for piece in pieces))
    times = times_of(str(joined))
    assert len(times) == 10
    assert times == sorted(times)
    assert times[-1] == pytest.approx(0.36)


def test_a_turned_picture_is_upright(tmp_path: Path) -> None:
    data = bytearray(
        make(tmp_path / "a.mp4", [0, 1, 2], Fraction(1, 25), Fraction(25)).read_bytes()
    )
    # The matrix of the track header: a quarter clockwise.
    at = data.index(b"tkhd") + 44
    data[at : at + 36] = struct.pack(">9i", 0, 65536, 0, -65536, 0, 0, 96 * 65536, 0, 1 << 30)
    turned = tmp_path / "turned.mp4"
    turned.write_bytes(data)
    first = frames_of(str(turned))[0]
    assert first.image is not None and first.image.shape == (160, 96, 3)
    # The white column of the left edge is the upper edge now.
    assert first.image[:8].mean() > 200 and first.image[20:].mean() < 30


def test_pixels_that_are_not_square_stay_so(tmp_path: Path, watch: Any) -> None:
    watch(make(tmp_path / "a.mp4", [0, 1, 2], Fraction(1, 25), Fraction(25), aspect=Fraction(4, 3)))
    with av.open(str(tmp_path / "out" / "annotated.mp4")) as container:
        stream: Any = container.streams.video[0]
        assert (stream.width, stream.height) == (160, 96)
        assert stream.sample_aspect_ratio == Fraction(4, 3)


def test_an_interlaced_video_has_no_combs(tmp_path: Path) -> None:
    source = make(tmp_path / "a.mkv", [each * 40 for each in range(6)], interlaced=True)
    with av.open(str(source)) as container:
        woven = [frame.to_ndarray(format="gray") for frame in container.decode(video=0)]
    frames = frames_of(str(source))
    assert len(frames) == len(woven) == 6
    assert frames[5].time == pytest.approx(0.2)

    def combs(image: Any) -> float:
        lines = image.astype(int)
        return float(np.abs(lines[1:-1] - (lines[:-2] + lines[2:]) / 2).mean())

    shown = [cv2.cvtColor(frame.image, cv2.COLOR_BGR2GRAY) for frame in frames]  # type: ignore[arg-type]
    assert combs(shown[3]) < combs(woven[3]) / 2


def test_pictures_of_several_sizes(tmp_path: Path, watch: Any) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name, size in (("1.jpg", (160, 96)), ("2.png", (64, 200)), ("10.jpg", (320, 192))):
        cv2.imwrite(str(folder / name), np.full((size[1], size[0], 3), 255, np.uint8))
    watch(folder, "--pictures")
    kept = tmp_path / "out" / "annotated"
    assert {path.name: decode(path.read_bytes()).shape[:2] for path in kept.iterdir()} == {
        "1.jpg": (96, 160),
        "2.png.jpg": (200, 64),
        "10.jpg": (192, 320),
    }
    assert not (tmp_path / "out" / "annotated.mp4").exists()
    watch(folder)
    _, tall, wide = frames_of(str(tmp_path / "out" / "annotated.mp4"))
    assert tall.image is not None and wide.image is not None
    # Black beside the tall one, whose 64 x 200 are 31 x 96; nothing beside the other.
    assert tall.image[80, 10].max() < 20 and tall.image[80, 80].min() > 200
    assert wide.image[90, 3].min() > 200


def test_a_broken_picture_costs_itself(tmp_path: Path, watch: Any) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name in ("a.jpg", "c.jpg"):
        (folder / name).write_bytes(encode(np.zeros((96, 160, 3), np.uint8), 90))
    (folder / "b.jpg").write_bytes(b"no picture")
    result = watch(folder)
    first, broken, last = lines_of(tmp_path / "out")
    assert broken["error"].endswith("b.jpg is not a picture")
    assert first["counts"] == last["counts"] == {"car": 1}
    assert "3 frames" in result.stdout and "1 failed" in result.stdout


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    """An HTTP server of `tmp_path`, and of /camera: ten pictures a second, without an end."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments, directory=str(tmp_path))

        def do_GET(self) -> None:
            if self.path != "/camera":
                return super().do_GET()
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=part")
            self.end_headers()
            try:
                for image in moving_scene(12, width=160, height=96):
                    jpeg = encode(image, 80)
                    head = (
                        f"--part\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
                    )
                    self.wfile.write(head.encode() + jpeg + b"\r\n")
                    # What is sent when is what is tested.
                    time.sleep(0.1)
            except OSError:
                return

        def log_message(self, *arguments: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def test_a_variable_rate_over_http(served: str, tmp_path: Path) -> None:
    make(tmp_path / "a.mkv", VARIABLE)
    with FrameSource(f"{served}/a.mkv") as source:
        assert not source.live
        times = [frame.time for frame in iter(source.read, None)]
    assert times == pytest.approx([each / 1000 for each in VARIABLE])


def test_a_camera_over_http_is_written_by_the_time_its_pictures_came(
    served: str, tmp_path: Path, watch: Any
) -> None:
    watch(f"{served}/camera", "--policy", "wait", "--max-frames", "8")
    told = [line["time"] for line in lines_of(tmp_path / "out")]
    written = times_of(str(tmp_path / "out" / "annotated.mp4"))
    assert written == pytest.approx(told, abs=0.001)
    # Eight pictures, a tenth of a second between them, however late they were read.
    assert told[-1] > 0.5


@pytest.mark.parametrize("presses", [1, 3])
def test_ctrl_c_however_often_leaves_whole_files(
    presses: int, tmp_path: Path, serve_grpc: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    close = VideoWriter.close

    def pressed_again(writer: VideoWriter) -> None:
        for _ in range(presses - 1):
            os.kill(os.getpid(), signal.SIGINT)
        close(writer)

    monkeypatch.setattr(VideoWriter, "close", pressed_again)

    def interrupt(requests: Iterator[Any], context: Any) -> Iterator[Any]:
        for index, request in enumerate(requests):
            if index == 5:
                os.kill(os.getpid(), signal.SIGINT)
            yield detections_response(request.id, [])

    flags = ["--port", str(serve_grpc(interrupt)), "--model", "objects"]
    result = CliRunner().invoke(main, [*flags, "--results-dir", str(tmp_path)])
    assert result.exit_code == INTERRUPTED, result.output
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "annotated.mp4",
        "frame_counts.jsonl",
    ]
    assert "annotated.mp4" in result.stdout
    assert times_of(str(tmp_path / "annotated.mp4"))
