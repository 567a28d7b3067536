import io
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from clients.errors import SourceError
from clients.video import frame_source
from clients.video.container import Picture
from clients.video.frame_source import FrameSource
from clients.video.source import VideoSource
from clients.video.writer import VideoWriter
from mlserver_streaming.vision.scene import moving_scene
from tests.vision.jpegs import jpeg, picture


def read_all(source: FrameSource) -> list[frame_source.SourceFrame]:
    return list(iter(source.read, None))


def test_the_sample() -> None:
    with FrameSource("sample") as source:
        assert (source.live, source.frame_count) == (False, 150)
        first, second = source.read(), source.read()
    assert first is not None and second is not None
    assert (first.index, first.time, second.index) == (0, 0, 1)
    assert second.time == pytest.approx(1 / 25)


def test_a_file(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "a.mp4", Fraction(10)) as writer:
        for image in moving_scene(5, width=160, height=90):
            writer.write(image)
    with FrameSource(str(tmp_path / "a.mp4")) as source:
        assert (source.live, source.fps) == (False, 10)
        assert [frame.time for frame in read_all(source)] == [0, 0.1, 0.2, 0.3, 0.4]


def test_a_folder_of_pictures_by_name(tmp_path: Path) -> None:
    for name, width in (("b.png", 30), ("a.jpg", 20), ("c.JPEG", 40)):
        cv2.imwrite(str(tmp_path / name), picture(width, 10))
    (tmp_path / "notes.txt").write_text("none")
    with FrameSource(str(tmp_path)) as source:
        assert (source.live, source.frame_count) == (False, 3)
        assert [frame.image.shape[1] for frame in read_all(source)] == [20, 30, 40]


def test_a_folder_without_pictures_and_a_picture_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="holds no pictures"):
        FrameSource(str(tmp_path))
    (tmp_path / "a.jpg").write_text("none")
    cv2.imwrite(str(tmp_path / "b.jpg"), picture(20, 10))
    with FrameSource(str(tmp_path)) as source:
        broken, whole = read_all(source)
    assert broken.image is None and str(broken.error).endswith("a.jpg is not a picture")
    assert whole.image is not None and whole.error is None


def test_a_folder_s_numbers_count_as_numbers(tmp_path: Path) -> None:
    for number in range(1, 13):
        cv2.imwrite(str(tmp_path / f"{number}.jpg"), picture(16 * number, 10))
    with FrameSource(str(tmp_path)) as source:
        assert [frame.name for frame in read_all(source)] == [f"{n}.jpg" for n in range(1, 13)]


def test_a_file_at_its_own_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]

    def sleep(seconds: float) -> None:
        clock[0] += seconds

    monkeypatch.setattr(frame_source.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(frame_source.time, "sleep", sleep)
    with FrameSource("sample") as source:
        source.realtime = True
        frames = [source.read() for _ in range(3)]
    assert [frame.read_at for frame in frames if frame] == pytest.approx([100, 100.04, 100.08])


@pytest.fixture
def stdin(monkeypatch: pytest.MonkeyPatch) -> Any:
    def give(data: bytes) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))

    return give


def test_jpegs_on_stdin(stdin: Any) -> None:
    stdin(b"--part\r\n\r\n".join(jpeg(picture(width, 16)) for width in (16, 24, 32)))
    with FrameSource("-") as source:
        assert source.live
        assert [frame.image.shape[1] for frame in read_all(source)] == [16, 24, 32]


@pytest.mark.parametrize(
    ("data", "text"), [(b"", "stdin holds no JPEG"), (b"text", "stdin holds no JPEG")]
)
def test_a_stdin_without_pictures(stdin: Any, data: bytes, text: str) -> None:
    stdin(data)
    with FrameSource("-") as source, pytest.raises(SourceError, match=text):
        source.read()


class Camera:
    """A camera that breaks off after some frames, and comes back at a later try."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *tries: int | None):
        self.tries = list(tries)
        self.waits: list[float] = []
        self.clock = 0.0
        monkeypatch.setattr(frame_source, "open_source", self.open)
        monkeypatch.setattr(frame_source.time, "sleep", self.sleep)
        monkeypatch.setattr(frame_source.time, "monotonic", lambda: self.clock)

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.clock += seconds

    def open(self, name: str, timeout: float) -> Any:
        count = self.tries.pop(0) if self.tries else None
        if count is None:
            raise SourceError("there is no camera 0, or it is in use")
        images = iter([Picture(np.zeros((4, 4, 3), np.uint8))] * count)
        return _Opened(VideoSource(Fraction(30), None, lambda: next(images, None)))


class _Opened:
    def __init__(self, source: VideoSource):
        self.source = source

    def __enter__(self) -> VideoSource:
        return self.source

    def __exit__(self, *exception: object) -> None:
        pass


def test_a_camera_that_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    camera = Camera(monkeypatch, 2, None, None, 3)
    with FrameSource("0", retry_s=60) as source:
        assert source.live
        assert [source.read().index for _ in range(5)] == [0, 1, 2, 3, 4]  # type: ignore[union-attr]
    assert camera.waits == [0.5, 1.0]


def test_a_camera_that_does_not_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    camera = Camera(monkeypatch, 1)
    with FrameSource("0", retry_s=10) as source:
        assert source.read() is not None
        with pytest.raises(SourceError, match="did not come back within 10 s: there is no camera"):
            source.read()
    assert camera.waits == [0.5, 1.0, 2.0, 4.0]


def test_a_camera_that_is_not_there() -> None:
    with pytest.raises(SourceError, match="there is no camera 97"):
        FrameSource("97")
