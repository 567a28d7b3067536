from fractions import Fraction

import av
import numpy as np
import pytest

from clients.errors import ResultError
from clients.video.writer import VideoWriter
from mlserver_streaming.vision.scene import scene_frame


def write(path, frames, fps=Fraction(25)):
    with VideoWriter(path, fps) as writer:
        for frame in frames:
            writer.write(frame)


def read(path):
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return stream, [frame.to_ndarray(format="bgr24") for frame in container.decode(stream)]


def test_a_browser_can_play_it(tmp_path):
    path = tmp_path / "new" / "output.mp4"
    frames = [scene_frame(index) for index in range(30)]
    write(path, frames, Fraction(30000, 1001))
    stream, images = read(path)
    assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
    assert stream.average_rate == Fraction(30000, 1001)
    assert len(images) == stream.frames == 30
    assert all(
        np.abs(image.astype(int) - frame).mean() < 8
        for image, frame in zip(images, frames, strict=True)
    )
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")
    assert [file.name for file in path.parent.iterdir()] == ["output.mp4"]


def test_odd_sizes_are_made_even(tmp_path):
    path = tmp_path / "odd.mp4"
    write(path, [scene_frame(index, width=161, height=91) for index in range(3)])
    stream, images = read(path)
    assert (stream.width, stream.height, len(images)) == (162, 92, 3)


def test_frames_that_change_size_and_grey_ones(tmp_path):
    path = tmp_path / "mixed.mp4"
    sizes = [(160, 90), (320, 200), (161, 90)]
    frames = [scene_frame(0, width=width, height=height) for width, height in sizes]
    write(path, [*frames, frames[0][:, :, 0]])
    stream, images = read(path)
    assert (stream.width, stream.height, len(images)) == (160, 90, 4)


def test_without_frames_an_older_file_stays(tmp_path):
    path = tmp_path / "output.mp4"
    path.write_bytes(b"older")
    write(path, [])
    assert path.read_bytes() == b"older"
    assert [file.name for file in tmp_path.iterdir()] == ["output.mp4"]


def test_after_an_error_the_frames_so_far_are_kept(tmp_path):
    path = tmp_path / "output.mp4"
    with pytest.raises(KeyboardInterrupt), VideoWriter(path, Fraction(25)) as writer:
        writer.write(scene_frame(0))
        writer.write(scene_frame(1))
        raise KeyboardInterrupt
    assert len(read(path)[1]) == 2


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ResultError, match=r"file/output\.mp4 cannot be written: \w"):
        VideoWriter(tmp_path / "file" / "output.mp4", Fraction(25))
    with pytest.raises(ResultError, match="Is a directory"):
        VideoWriter(tmp_path, Fraction(25))
