import numpy as np
import pytest

from mlserver_streaming.vision.scene import FRAMES, HEIGHT, WIDTH, moving_scene, scene_frame


def test_size_count_and_kind():
    frames = list(moving_scene(3))
    assert len(frames) == 3
    assert all(frame.shape == (HEIGHT, WIDTH, 3) and frame.dtype == np.uint8 for frame in frames)
    assert sum(1 for _ in moving_scene(width=16, height=16)) == FRAMES


def test_the_same_pixels_in_every_run():
    assert np.array_equal(scene_frame(17), scene_frame(17))
    assert all(
        np.array_equal(frame, scene_frame(index)) for index, frame in enumerate(moving_scene(5))
    )


def test_something_moves_and_the_ground_does_not():
    first, second = scene_frame(10), scene_frame(11)
    changed = (first != second).any(axis=2).mean()
    assert 0.002 < changed < 0.2


def test_a_frame_is_the_callers_own():
    scene_frame(0)[:] = 0
    assert scene_frame(0).any()


@pytest.mark.parametrize("size", [(64, 48), (321, 181), (1920, 1080)])
def test_other_sizes(size):
    width, height = size
    assert scene_frame(5, width=width, height=height).shape == (height, width, 3)
