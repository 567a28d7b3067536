import numpy as np
import pytest

from mlserver_streaming.vision.letterbox import GREY, Letterbox, to_tensor


@pytest.mark.parametrize(
    ("size", "scaled", "corner"),
    [
        ((1280, 720), (640, 360), (0, 140)),
        ((720, 1280), (360, 640), (140, 0)),
        ((640, 640), (640, 640), (0, 0)),
        ((320, 320), (640, 640), (0, 0)),
        ((810, 1080), (480, 640), (80, 0)),
        ((641, 427), (640, 426), (0, 107)),
        ((1, 1), (640, 640), (0, 0)),
        ((16384, 9), (640, 1), (0, 319)),
    ],
)
def test_where_an_image_lies(
    size: tuple[int, int], scaled: tuple[int, int], corner: tuple[int, int]
) -> None:
    box = Letterbox.fit(*size, 640, 640)
    assert (box.scaled_width, box.scaled_height) == scaled
    assert (box.left, box.top) == corner
    image = np.full((size[1], size[0], 3), 200, np.uint8)
    there = box.apply(image)
    assert there.shape == (640, 640, 3)
    inside = there[box.top : box.top + scaled[1], box.left : box.left + scaled[0]]
    assert (inside == 200).all()
    assert (there == GREY).sum() == there.size - inside.size


def test_the_way_back() -> None:
    box = Letterbox.fit(810, 1080, 640, 640)
    there = np.array([[80, 0, 560, 640], [200, 100, 320, 300], [0, 0, 640, 640]], np.float32)
    back = box.restore(there)
    assert back[0].tolist() == back[2].tolist() == [0, 0, 810, 1080]
    np.testing.assert_allclose(back[1], [202.5, 168.75, 405, 506.25])


def test_an_input_that_is_no_square() -> None:
    box = Letterbox.fit(100, 100, 640, 384)
    assert (box.scaled_width, box.scaled_height, box.left, box.top) == (384, 384, 128, 0)


def test_a_tensor_is_red_first_and_from_0_to_1() -> None:
    image = np.zeros((2, 3, 3), np.uint8)
    image[..., 0], image[..., 2] = 51, 255  # BGR
    tensor = to_tensor(image)
    assert (tensor.shape, tensor.dtype) == ((1, 3, 2, 3), np.float32)
    np.testing.assert_allclose(tensor[0, :, 0, 0], [1, 0, 0.2])
    np.testing.assert_allclose(to_tensor(image, scale=1, rgb=False)[0, :, 0, 0], [51, 0, 255])


def test_grey() -> None:
    grey = np.full((10, 20), 7, np.uint8)
    assert (Letterbox.fit(20, 10, 20, 20).apply(grey)[5:15] == 7).all()
