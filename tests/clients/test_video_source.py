from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from clients.errors import SourceError
from clients.video.source import DEFAULT_FPS, frame_rate, open_source
from clients.video.writer import VideoWriter
from mlserver_streaming.vision import scene


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    path = tmp_path_factory.mktemp("video") / "scene.mp4"
    with VideoWriter(path, Fraction(30000, 1001)) as writer:
        for frame in scene.moving_scene(50, width=320, height=180):
            writer.write(frame)
    return path


async def read_all(source, limit=None):
    return [frame async for frame in source.frames(limit)]


async def test_a_file(video):
    with open_source(str(video)) as source:
        assert (source.fps, source.frame_count) == (Fraction(30000, 1001), 50)
        frames = await read_all(source)
    assert len(frames) == 50
    expected = scene.scene_frame(49, width=320, height=180)
    assert np.abs(frames[49].astype(int) - expected).mean() < 8


async def test_at_most_so_many_frames(video):
    with open_source(str(video)) as source:
        assert len(await read_all(source, 7)) == 7


async def test_a_header_that_promises_more_frames_than_there_are(video, tmp_path):
    data = video.read_bytes()
    # The index stands at the front: it still lists what is cut off here.
    short = tmp_path / "short.mp4"
    short.write_bytes(data[: data.index(b"mdat") + (len(data) - data.index(b"mdat")) // 2])
    with open_source(str(short)) as source:
        assert source.frame_count == 50
        assert 0 < len(await read_all(source)) < 50


async def test_the_sample():
    with open_source("sample") as source:
        assert (source.fps, source.frame_count) == (scene.FPS, scene.FRAMES)
        frames = await read_all(source, 2)
    assert np.array_equal(frames[1], scene.scene_frame(1))


@pytest.mark.parametrize("fps", [0.0, -1.0, 90000.0, float("nan"), float("inf")])
def test_a_rate_that_cannot_be_true(fps):
    assert frame_rate(fps) == DEFAULT_FPS


def test_a_rate_in_its_exact_form():
    assert frame_rate(30000 / 1001) == Fraction(30000, 1001)
    assert frame_rate(25.0) == 25


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
async def test_a_real_video_whose_header_promises_922_frames():
    with open_source(str(CAR_TRAFFIC)) as source:
        assert (source.fps, source.frame_count) == (Fraction(483, 16), 922)
        assert len([None async for _ in source.frames()]) == 917
