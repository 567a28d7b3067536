"""The video client with models that find objects: sources, files, a server that goes away."""

import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import grpc
import numpy as np
import pytest
from click.testing import CliRunner, Result
from mlserver.grpc.dataplane_pb2_grpc import add_GRPCInferenceServiceServicer_to_server

from clients.errors import UnreachableError
from clients.video.frame_buffer import Policy
from clients.video.frame_source import FrameSource
from clients.video.stream_settings import StreamSettings
from clients.video.watch import WatchReport, WatchSettings, default_policy, watch_video
from clients.video_client import INTERRUPTED, main
from mlserver_streaming.vision.annotate import colour_of
from mlserver_streaming.vision.jpeg import decode, read_header
from mlserver_streaming.vision.scene import scene_frame
from tests.clients.conftest import _Servicer
from tests.clients.detections import detections_response
from tests.clients.responses import Handler, element, failed_response, raw_response

BOX = [100, 100, 300, 200]


def finding(requests: Iterator[Any], context: Any) -> Iterator[Any]:
    """A car and a bus in every frame, the bus tracked."""
    for request in requests:
        yield detections_response(request.id, [BOX, [400, 50, 500, 150]], ["car", "bus"], [-1, 7])


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    monkeypatch.delenv("DISPLAY", raising=False)

    def invoke(port: int, *arguments: str) -> Result:
        flags = ["--port", str(port), "--results-dir", str(tmp_path / "out"), "--model", "objects"]
        return CliRunner().invoke(main, [*flags, *arguments])

    return invoke


def lines_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "frame_counts.jsonl").read_text().splitlines()]


def video_of(folder: Path) -> list[np.ndarray]:
    with av.open(str(folder / "annotated.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert stream.average_rate == 25
        return [frame.to_ndarray(format="bgr24") for frame in container.decode(stream)]


def times_of(folder: Path) -> list[float]:
    with av.open(str(folder / "annotated.mp4")) as container:
        return [frame.time for frame in container.decode(video=0) if frame.time is not None]


def test_the_sample(serve_grpc: Any, run: Any, tmp_path: Path) -> None:
    result = run(serve_grpc(finding), "--max-frames", "12")
    assert result.exit_code == 0, result.output
    summary, written = result.stdout.splitlines()
    assert summary.startswith("12 frames in ")
    assert summary.endswith(" ms, 0 failed, 0 dropped; detections: 12 car, 12 bus in 1 tracks")
    assert (
        written == f"Written to {tmp_path}/out/annotated.mp4 and {tmp_path}/out/frame_counts.jsonl"
    )
    assert "12/12" in result.stderr and "2 found" in result.stderr
    lines = lines_of(tmp_path / "out")
    assert [line["frame"] for line in lines] == list(range(12))
    assert [line["time"] for line in lines[:3]] == [0, 0.04, 0.08]
    assert lines[5]["counts"] == {"car": 1, "bus": 1}
    assert lines[5]["detections"][0] == {
        "box": BOX,
        "score": 0.5,
        "class": 0,
        "label": "car",
        "track_id": -1,
    }
    assert lines[5]["dropped"] == 0 and lines[5]["latency_ms"] > 0
    images = video_of(tmp_path / "out")
    assert len(images) == 12
    # The box is drawn, in the colour of its class.
    edge = images[11][150, 100].astype(int)
    assert np.abs(edge - colour_of(0)).max() < 60


def test_every_knob_reaches_the_server(serve_grpc: Any, run: Any) -> None:
    seen: list[Any] = []

    def look(requests: Iterator[Any], context: Any) -> Iterator[Any]:
        seen.append(dict(context.invocation_metadata()))
        for request in requests:
            seen.append(request)
            yield detections_response(request.id, [])

    result = run(
        serve_grpc(look),
        *("--max-frames", "2", "--confidence", "0.4", "--iou", "0.6", "--classes", "car,bus"),
        *("--model-version", "3", "--input-name", "x", "--output-names", "boxes, scores"),
        *("--stream-id", "gate", "--api-key", "sesame", "--bearer", "token", "--no-track"),
        *("--quality", "50", "--sequence-id", "door"),
    )
    assert result.exit_code == 0, result.output
    metadata, first, second, end = seen
    assert (metadata["x-api-key"], metadata["authorization"]) == ("sesame", "Bearer token")
    assert (first.model_name, first.model_version, first.id) == ("objects", "3", "gate:0")
    assert [output.name for output in first.outputs] == ["boxes", "scores"]
    assert first.inputs[0].name == "x"
    assert read_header(element(first.raw_input_contents[0])).width == 640
    said = first.parameters
    assert said["confidence"].string_param == "0.4"
    assert said["classes"].string_param == "car,bus"
    assert "track" not in said
    assert said["sequence_id"].string_param == "door"
    assert said["sequence_start"].bool_param and not second.parameters["sequence_start"].bool_param
    assert end.parameters["sequence_end"].bool_param


def test_knobs_come_from_the_environment(
    serve_grpc: Any, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLIENT_MAX_FRAMES", "3")
    monkeypatch.setenv("CLIENT_CONFIDENCE", "0.9")
    result = run(serve_grpc(finding))
    assert result.stdout.startswith("3 frames in ")


def test_tensors_are_letterboxed_here_and_boxes_scaled_back(
    serve_grpc: Any, run: Any, tmp_path: Path
) -> None:
    seen: list[Any] = []

    def look(requests: Iterator[Any], context: Any) -> Iterator[Any]:
        for request in requests:
            seen.append(request)
            yield detections_response(request.id, [[80, 70, 160, 250]], ["car"])

    result = run(serve_grpc(look), "--max-frames", "1", "--tensor", "--img-size", "320")
    assert result.exit_code == 0, result.output
    (tensor,) = seen[0].inputs
    assert (tensor.name, tensor.datatype) == ("images", "FP32")
    assert list(tensor.shape) == [1, 3, 320, 320]
    data = np.frombuffer(seen[0].raw_input_contents[0], np.float32).reshape(3, 320, 320)
    np.testing.assert_allclose(data[:, 0, 0], 114 / 255)
    small = cv2.resize(scene_frame(0), (320, 180))
    np.testing.assert_allclose(data[:, 100, 50] * 255, small[30, 50, ::-1], atol=0.01)
    assert lines_of(tmp_path / "out")[0]["detections"][0]["box"] == [160, 0, 320, 360]


def test_failed_frames_are_counted_and_the_rest_goes_on(
    serve_grpc: Any, run: Any, tmp_path: Path
) -> None:
    def some(requests: Iterator[Any], context: Any) -> Iterator[Any]:
        for index, request in enumerate(requests):
            if index == 2:
                yield failed_response(request.id, "it is not a JPEG", 422)
            else:
                yield detections_response(request.id, [BOX], ["car"])

    result = run(serve_grpc(some), "--max-frames", "5")
    assert result.exit_code == 0
    assert "1 failed; first: it is not a JPEG (error 422)" in result.stdout
    lines = lines_of(tmp_path / "out")
    assert lines[2]["error"] == "it is not a JPEG (error 422)"
    assert [len(line["detections"]) for line in lines] == [1, 1, 0, 1, 1]
    assert len(video_of(tmp_path / "out")) == 5


def test_a_stride(serve_grpc: Any, run: Any, tmp_path: Path) -> None:
    result = run(serve_grpc(finding), "--source", "sample", "--stride", "50")
    assert result.exit_code == 0, result.output
    assert [line["frame"] for line in lines_of(tmp_path / "out")] == [0, 50, 100]
    assert "3/3" in result.stderr


def test_ctrl_c_finishes_both_files(serve_grpc: Any, run: Any, tmp_path: Path) -> None:
    def interrupt(requests: Iterator[Any], context: Any) -> Iterator[Any]:
        for index, response in enumerate(finding(requests, context)):
            if index == 20:
                os.kill(os.getpid(), signal.SIGINT)
            yield response

    result = run(serve_grpc(interrupt))
    assert result.exit_code == INTERRUPTED, result.output
    count = int(result.stdout.split()[0])
    assert 0 < count < 150
    assert len(lines_of(tmp_path / "out")) == count
    assert len(video_of(tmp_path / "out")) >= count - 1


def test_a_server_that_is_not_there(closed_port: int, run: Any, tmp_path: Path) -> None:
    result = run(closed_port)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("Error: nobody answers at 127.0.0.1:")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("name", ["annotated.mp4", "frame_counts.jsonl"])
def test_results_that_cannot_be_written(
    closed_port: int, run: Any, tmp_path: Path, name: str
) -> None:
    (tmp_path / "out" / name).mkdir(parents=True)
    result = run(closed_port)
    assert result.exit_code == 1
    assert result.stderr == f"Error: {tmp_path}/out/{name} cannot be written: Is a directory\n"


def test_a_source_that_is_not_there(closed_port: int, run: Any) -> None:
    result = run(closed_port, "--source", "99")
    assert result.stderr == "Error: there is no camera 99, or it is in use\n"


def test_a_model_that_is_refused(serve_grpc: Any, run: Any) -> None:
    def refuse(requests: Iterator[Any], context: Any) -> Iterator[Any]:
        next(requests)
        context.abort(grpc.StatusCode.PERMISSION_DENIED, "not yours")
        yield

    result = run(serve_grpc(refuse))
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1] == (
        "Error: the server answered PERMISSION_DENIED: not yours"
    )


class Server:
    """A server that can be stopped and started again on its port."""

    def __init__(self, handler: Handler):
        self.handler, self.port = handler, 0
        self.start()

    def start(self) -> None:
        options = [("grpc.so_reuseport", 0)]
        self.server = grpc.server(ThreadPoolExecutor(4), options=options)
        add_GRPCInferenceServiceServicer_to_server(_Servicer(self.handler), self.server)
        self.port = self.server.add_insecure_port(f"127.0.0.1:{self.port}")
        self.server.start()

    def stop(self) -> None:
        self.server.stop(None).wait()

    def restart(self) -> None:
        self.stop()
        self.start()


class Scripted:
    """The sample as a source of any kind; `at` is called when the frame of that number is read."""

    def __init__(self, count: int, *, live: bool, at: dict[int, Callable[[], None]] | None = None):
        self._sample = FrameSource("sample")
        self.fps, self.frame_count, self.live = self._sample.fps, None, live
        self.realtime, self.pixel_aspect = False, Fraction(1)
        self._count, self._at = count, at or {}

    def read(self) -> Any:
        frame = self._sample.read()
        if frame is None or frame.index >= self._count:
            return None
        self._at.get(frame.index, lambda: None)()
        return frame


def watch(source: Any, port: int, folder: Path, **more: Any) -> WatchReport:
    report = WatchReport()
    settings = StreamSettings(
        port=port, model="objects", resend=not source.live, **{"retry_s": 20.0, **more}
    )
    watch_video(source, settings, folder, report, WatchSettings())
    return report


def test_a_file_waits_for_a_server_that_goes_away(tmp_path: Path) -> None:
    """Every frame is answered, in order, though the server died with some of them."""
    held = threading.Event()
    seen: list[int] = []

    def dying(requests: Iterator[Any], context: Any) -> Iterator[Any]:
        for request in requests:
            if len(seen) == 10 and not held.is_set():
                held.set()
                restarter.start()
                context.abort(grpc.StatusCode.UNAVAILABLE, "going down")
            seen.append(int(request.id.split(":")[1]))
            yield detections_response(request.id, [BOX], [str(len(seen))])

    server = Server(dying)
    restarter = threading.Thread(target=server.restart)
    report = watch(Scripted(40, live=False), server.port, tmp_path)
    restarter.join()
    server.stop()
    assert (report.frames, report.failed, report.dropped) == (40, 0, 0)
    lines = lines_of(tmp_path)
    assert [line["frame"] for line in lines] == list(range(40))
    assert [line["detections"][0]["label"] for line in lines] == [str(n) for n in range(1, 41)]


def test_a_live_source_loses_only_the_frames_of_the_outage(tmp_path: Path) -> None:
    answered = threading.Semaphore(0)

    def counting(requests: Iterator[Any], context: Any) -> Iterator[Any]:
        for response in finding(requests, context):
            yield response
            answered.release()

    server = Server(counting)
    back = threading.Event()

    def outage() -> None:
        assert answered.acquire(timeout=10)
        server.stop()

    def returns() -> None:
        server.start()
        back.set()

    def wait_for_answers() -> None:
        # Frames go on coming until the stream is up again.
        assert back.is_set()
        while answered.acquire(blocking=False):
            pass
        assert answered.acquire(timeout=20)

    at = {20: outage, 60: returns, 90: wait_for_answers}
    report = watch(Scripted(100, live=True, at=at), server.port, tmp_path)
    server.stop()
    lines = lines_of(tmp_path)
    assert lines[-1]["frame"] == 99
    assert lines[-1]["counts"] == {"car": 1, "bus": 1}
    assert report.frames + report.dropped == 100
    assert report.lost == sum("lost" in line.get("error", "") for line in lines) <= 4
    assert report.failed == report.lost
    # The file keeps the source's time, the gap too.
    assert times_of(tmp_path) == pytest.approx([line["time"] for line in lines], abs=0.001)
    assert lines[-1]["time"] == 3.96


def test_a_server_that_does_not_come_back_ends_it(tmp_path: Path) -> None:
    server = Server(finding)
    source = Scripted(100, live=False, at={30: server.stop})
    with pytest.raises(UnreachableError, match="nobody answers"):
        watch(source, server.port, tmp_path, retry_s=0.5)
    assert 0 < len(lines_of(tmp_path)) < 100
    assert len(video_of(tmp_path)) == len(lines_of(tmp_path))


def test_a_silent_server_costs_the_frames_that_waited(tmp_path: Path) -> None:
    calls = []

    def silent_once(requests: Iterator[Any], context: Any) -> Iterator[Any]:
        calls.append(1)
        for index, request in enumerate(requests):
            if len(calls) > 1 or index < 3:
                yield detections_response(request.id, [BOX], ["car"])

    server = Server(silent_once)
    report = watch(Scripted(30, live=False), server.port, tmp_path, timeout=0.5)
    server.stop()
    assert "no response" in str(report.first_error)
    # Those that were behind it on the wire are sent again.
    assert (report.frames, 1 <= report.failed <= 8) == (30, True)
    assert lines_of(tmp_path)[-1]["counts"] == {"car": 1}
    assert len(calls) == 2


def test_a_pipe_of_jpegs_is_live_unless_told_otherwise() -> None:
    assert default_policy(Scripted(1, live=True)) is Policy.LATEST  # type: ignore[arg-type]
    assert default_policy(Scripted(1, live=False)) is Policy.WAIT  # type: ignore[arg-type]


def test_pictures_that_come_back_are_kept(serve_grpc: Any, run: Any, tmp_path: Path) -> None:
    """A model that answers with an image, under any name."""

    def echo(requests: Iterator[Any], context: Any) -> Iterator[Any]:
        for request in requests:
            data = element(request.raw_input_contents[0])
            assert decode(data).shape == (360, 640, 3)
            yield raw_response(request.id, "output_image", data)

    result = run(serve_grpc(echo), "--max-frames", "3")
    assert result.exit_code == 0, result.output
    assert len(video_of(tmp_path / "out")) == 3
