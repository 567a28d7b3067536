import os
import re
import signal
from fractions import Fraction

import av
import numpy as np
import pytest
from click.testing import CliRunner

from clients.video.window import NO_WINDOW
from clients.video.writer import VideoWriter
from clients.video_client import INTERRUPTED, main
from mlserver_streaming.vision.scene import moving_scene, scene_frame
from tests.clients.responses import element, failed_response, raw_response


def echo(requests, context):
    for request in requests:
        yield raw_response(request.id, "output_image", element(request.raw_input_contents[0]))


def failing(*frames):
    def answer(requests, context):
        for index, request in enumerate(requests):
            if index in frames:
                yield failed_response(request.id, "it is not a JPEG", 422)
            else:
                data = element(request.raw_input_contents[0])
                yield raw_response(request.id, "output_image", data)

    return answer


def read(path):
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        return [frame.to_ndarray(format="bgr24") for frame in container.decode(stream)]


def close(image, frame):
    return np.abs(image.astype(int) - frame).mean() < 4


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)

    def invoke(port, *arguments):
        flags = ["--port", str(port), "--results-dir", str(tmp_path / "results"), *arguments]
        return CliRunner().invoke(main, flags)

    return invoke


def test_the_sample(serve_frames, run, tmp_path):
    result = run(serve_frames(echo), "--max-frames", "12")
    assert result.exit_code == 0
    summary, written = result.stdout.splitlines()
    assert summary.startswith("12 frames in ")
    assert summary.endswith(" ms, 0 failed")
    assert written == f"Written to {tmp_path}/results/output.mp4"
    assert "12/12" in result.stderr
    images = read(tmp_path / "results" / "output.mp4")
    assert len(images) == 12
    assert close(images[11], scene_frame(11))


def test_a_file_whose_header_promises_too_much(serve_frames, run, tmp_path):
    whole, short, output = (tmp_path / name for name in ("whole.mp4", "short.mp4", "out/new.mp4"))
    with VideoWriter(whole, Fraction(25)) as writer:
        for frame in moving_scene(40, width=160, height=90):
            writer.write(frame)
    data = whole.read_bytes()
    short.write_bytes(data[: data.index(b"mdat") + (len(data) - data.index(b"mdat")) // 2])
    result = run(serve_frames(echo), "--source", str(short), "--output", str(output))
    assert result.exit_code == 0
    count = len(read(output))
    assert 0 < count < 40
    assert result.stdout.startswith(f"{count} frames in ")
    assert f"{count}/{count}" in result.stderr


def test_failed_frames_repeat_the_good_one_before_them(serve_frames, run, tmp_path):
    result = run(serve_frames(failing(0, 4, 5)), "--max-frames", "8")
    assert result.exit_code == 0
    assert "3 failed; first: it is not a JPEG (error 422)" in result.stdout
    images = read(tmp_path / "results" / "output.mp4")
    assert len(images) == 8
    for image, shown in zip(images, (1, 1, 2, 3, 3, 3, 6, 7), strict=True):
        assert close(image, scene_frame(shown))


def test_when_every_frame_fails(serve_frames, run, tmp_path):
    result = run(serve_frames(failing(*range(5))), "--max-frames", "5")
    assert result.exit_code == 1
    assert "5 failed" in result.stdout
    assert "Written" not in result.stdout
    assert result.stderr.splitlines()[-1] == "Error: it is not a JPEG (error 422)"
    assert list((tmp_path / "results").iterdir()) == []


def test_a_server_that_breaks_off_leaves_what_was_done(serve_frames, run, tmp_path):
    def five(requests, context):
        for _, response in zip(range(5), echo(requests, context), strict=False):
            yield response

    result = run(serve_frames(five))
    assert result.exit_code == 1
    assert result.stdout.startswith("5 frames in ")
    # The end may come during a write or between two.
    error = result.stderr.splitlines()[-1]
    assert re.fullmatch(r"Error: the (server .* ended the stream|stream .* was cut .*)", error)
    assert len(read(tmp_path / "results" / "output.mp4")) == 5


def test_ctrl_c_ends_the_file_properly(serve_frames, run, tmp_path):
    def interrupt(requests, context):
        for index, response in enumerate(echo(requests, context)):
            if index == 20:
                os.kill(os.getpid(), signal.SIGINT)
            yield response

    result = run(serve_frames(interrupt))
    assert result.exit_code == INTERRUPTED
    count = int(result.stdout.split()[0])
    assert 0 < count < 150
    assert len(read(tmp_path / "results" / "output.mp4")) >= count - 1


def test_a_window_without_a_display_is_one_sentence(serve_frames, run):
    result = run(serve_frames(echo), "--show", "--max-frames", "3")
    assert result.exit_code == 0
    assert result.stderr.count(NO_WINDOW) == 1


def test_a_server_that_is_not_there(closed_port, run):
    result = run(closed_port)
    assert (result.exit_code, result.stdout) == (1, "")
    # No line of a progress bar before it.
    assert result.stderr.startswith("Error: nobody answers at 127.0.0.1:")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(("flag", "expected"), [("cam-1", "cam-1"), ("", None)])
def test_the_sequence_id(serve_grpc, run, flag, expected):
    ids = set()

    def record(requests, context):
        for request in requests:
            parameters = request.parameters
            ids.add(parameters["sequence_id"].string_param if "sequence_id" in parameters else None)
            yield raw_response(request.id, "output_image", element(request.raw_input_contents[0]))

    result = run(serve_grpc(record), "--sequence-id", flag, "--max-frames", "2")
    assert result.exit_code == 0
    assert ids == {expected}


def test_a_bad_source_and_a_bad_place(closed_port, run, tmp_path):
    result = run(closed_port, "--source", "nothing.mp4")
    assert (result.exit_code, result.stderr) == (1, "Error: there is no file nothing.mp4\n")
    (tmp_path / "file").touch()
    result = run(closed_port, "--output", str(tmp_path / "file" / "out.mp4"))
    assert result.exit_code == 1
    assert "cannot be written" in result.stderr
    assert result.stderr.count("\n") == 1
