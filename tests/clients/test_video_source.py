from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from clients.errors import SourceError
from clients.video.container import DEFAULT_FPS, frame_rate
from clients.video.source import open_source
from clients.video.writer import VideoWriter
from mlserver_streaming.vision import scene


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    path = tmp_path_factory.mktemp("video") / "scene.mp4"
    with VideoWriter(path, Fraction(30000, 1001)) as writer:
        for frame in scene.moving_scene(50, width=320, height=180):
            writer.write(frame)
    return path


def read_all(source):
    return list(iter(source.read, None))


def test_a_file(video):
    with open_source(str(video)) as source:
        assert (source.fps, source.frame_count) == (Fraction(30000, 1001), 50)
        frames = read_all(source)
    assert len(frames) == 50
    expected = scene.scene_frame(49, width=320, height=180)
    assert np.abs(frames[49].image.astype(int) - expected).mean() < 8


def test_a_header_that_promises_more_frames_than_there_are(video, tmp_path):
    data = video.read_bytes()
    # The index stands at the front: it still lists what is cut off here.
    short = tmp_path / "short.mp4"
    short.write_bytes(data[: data.index(b"mdat") + (len(data) - data.index(b"mdat")) // 2])
    with open_source(str(short)) as source:
        assert source.frame_count == 50
        assert 0 < len(read_all(source)) < 50


def test_the_sample():
    with open_source("sample") as source:
        assert (source.fps, source.frame_count) == (scene.FPS, scene.FRAMES)
        frames = [source.read() for _ in range(2)]
    assert np.array_equal(frames[1].image, scene.scene_frame(1))
    assert frames[1].time == Fraction(1, 25)


@pytest.mark.parametrize("fps", [None, 0.0, -1.0, float("nan")])
def test_a_rate_that_is_not_there(fps):
    assert frame_rate(fps) == (DEFAULT_FPS, None)


@pytest.mark.parametrize("fps", [90000.0, Fraction(1200), float("inf")])
def test_a_rate_that_is_not_believed_is_told(fps):
    rate, note = frame_rate(fps)
    assert rate == DEFAULT_FPS
    assert f"{float(fps):g} frames a second, which is not believed; 30 is taken" in note


@pytest.mark.parametrize("fps", [25, 480, Fraction(24005, 100), Fraction(30000, 1001)])
def test_a_rate_in_its_exact_form(fps):
    assert frame_rate(fps) == (fps, None)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("{folder}/nothing.mp4", "there is no file .*nothing.mp4"),
        ("{folder}", "is not a file"),
        ("{folder}/text.mp4", r"text\.mp4 is not a video"),
        ("987", "there is no camera 987"),
        ("http://127.0.0.1:{port}/x.mp4", "cannot be reached"),
    ],
)
def test_a_bad_source_is_one_clear_line(tmp_path, closed_port, capfd, name, text):
    (tmp_path / "text.mp4").write_text("no video\n" * 100)
    with (
        pytest.raises(SourceError, match=text),
        open_source(name.format(folder=tmp_path, port=closed_port)),
    ):
        pass
    assert capfd.readouterr().err == ""


CAR_TRAFFIC = Path(__file__).parents[3] / "shared" / "data" / "car_traffic.mp4"


@pytest.mark.skipif(not CAR_TRAFFIC.exists(), reason=f"the real video {CAR_TRAFFIC} is not here")
def test_a_real_video_whose_header_promises_922_frames():
    with open_source(str(CAR_TRAFFIC)) as source:
        assert (source.fps, source.frame_count) == (30, 922)
        times = [picture.time for picture in read_all(source)]
    assert (len(times), times[0], times[-1]) == (917, 0, Fraction(61, 2))
