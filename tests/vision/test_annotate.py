import numpy as np
import pytest

from mlserver_streaming.vision.annotate import annotate, colour_of
from mlserver_streaming.vision.detections import Detections, nothing


def found(*boxes: tuple[float, float, float, float]) -> Detections:
    count = len(boxes)
    return Detections(
        np.array(boxes, np.float32),
        np.full(count, 0.5, np.float32),
        np.arange(count, dtype=np.int32),
    )


def test_a_box_and_a_text_on_a_copy() -> None:
    image = np.zeros((360, 640, 3), np.uint8)
    picture = annotate(image, found((100, 100, 300, 200)), ["car"])
    assert not image.any()
    assert picture[150, 100].tolist() == list(colour_of(0))
    assert not picture[150, 200].any()
    # The plate is above the box.
    assert picture[80:99, 100:150].any()


def test_a_track_keeps_its_colour() -> None:
    image = np.zeros((360, 640, 3), np.uint8)
    box = found((100, 100, 300, 200))
    tracked = annotate(image, box, ["car"], [7])
    assert tracked[150, 100].tolist() == list(colour_of(7))
    assert annotate(image, box, ["car"], [-1])[150, 100].tolist() == list(colour_of(0))


@pytest.mark.parametrize("size", [(1, 1), (3, 16), (4000, 2250), (90, 160)])
def test_images_of_any_size(size: tuple[int, int]) -> None:
    boxes = found((0, 0, size[1], size[0]), (-5, -5, 1, 1), (size[1], size[0], size[1] + 9, 9999))
    picture = annotate(
        np.zeros((*size, 3), np.uint8), boxes, ["a", "b" * 200, "ü 日本"], [1, -1, 3]
    )
    assert picture.shape == (*size, 3)


def test_text_is_readable_at_any_size() -> None:
    def height_of_text(width: int, height: int) -> int:
        box = (width * 0.25, height * 0.5, width * 0.75, height * 0.9)
        picture = annotate(np.zeros((height, width, 3), np.uint8), found(box), ["car"])
        above = picture[: height // 2 - height // 100, round(width * 0.27)]
        return int(above.any(axis=1).sum())

    assert height_of_text(320, 180) >= 10
    assert height_of_text(640, 360) >= 10
    assert height_of_text(3840, 2160) >= 50


def test_grey_and_nothing() -> None:
    picture = annotate(np.full((20, 30), 9, np.uint8), nothing(), [])
    assert picture.shape == (20, 30, 3)
    assert (picture == 9).all()


def test_texts_of_boxes_that_stand_close_do_not_cover_one_another() -> None:
    image = np.zeros((360, 640, 3), np.uint8)
    boxes = found((100, 100, 300, 200), (110, 104, 310, 204), (120, 108, 320, 208))
    alone = [
        annotate(image, found(tuple(box)), ["car"], [track])  # type: ignore[arg-type]
        for track, box in enumerate(boxes.boxes)
    ]
    together = annotate(image, boxes, ["car"] * 3, [0, 1, 2])
    for track, picture in enumerate(alone):
        # As much of each plate's colour is left as when it stands alone, but for a box's line.
        colour = colour_of(track)
        count, seen = ((each == colour).all(axis=2).sum() for each in (picture, together))
        assert seen > 0.8 * count
