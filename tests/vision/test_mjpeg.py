import pytest

from mlserver_streaming.vision.mjpeg import MjpegError, MjpegSplitter
from tests.vision.jpegs import jpeg, picture, with_exif

FRAMES = [jpeg(picture(32 + 8 * n, 24)) for n in range(3)]


@pytest.mark.parametrize(
    "between", [b"", b"\r\n--frame\r\nContent-Type: image/jpeg\r\n\r\n", b"\xff"]
)
@pytest.mark.parametrize("size", [1, 7, 1 << 20])
def test_frames_come_out_whole(between: bytes, size: int) -> None:
    data = between + between.join(FRAMES) + between
    splitter = MjpegSplitter()
    found = []
    for start in range(0, len(data), size):
        found += splitter.feed(data[start : start + size])
    assert found == FRAMES


def test_a_thumbnail_is_no_frame() -> None:
    whole = with_exif(FRAMES[0], thumbnail=FRAMES[1])
    assert MjpegSplitter().feed(whole + FRAMES[2]) == [whole, FRAMES[2]]


def test_progressive_frames() -> None:
    frame = jpeg(picture(), progressive=True)
    assert MjpegSplitter().feed(frame * 2) == [frame, frame]


def test_what_is_no_jpeg_is_passed_over_and_forgotten() -> None:
    splitter = MjpegSplitter()
    assert splitter.feed(b"no picture " * 1000) == []
    assert splitter.feed(FRAMES[0]) == [FRAMES[0]]


def test_a_picture_without_an_end_is_bounded() -> None:
    splitter = MjpegSplitter(limit=5000)
    with pytest.raises(MjpegError, match="more than 5000 bytes"):
        splitter.feed(FRAMES[0][:-2] + b"\x00" * 6000)
