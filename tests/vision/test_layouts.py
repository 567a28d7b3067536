from collections.abc import Callable

import numpy as np
import pytest

from mlserver_streaming.vision.detections import select
from mlserver_streaming.vision.layouts import Layout, LayoutError, find_layout, read
from tests.vision import layouts
from tests.vision.layouts import CLASSES, FOUND, SIDE

ALL: dict[Layout, Callable[[], dict[str, np.ndarray]]] = {
    Layout.ROWS: layouts.rows,
    Layout.HEADS: layouts.heads,
    Layout.YOLOV8: layouts.yolov8,
    Layout.YOLOV5: layouts.yolov5,
    Layout.YOLOX: layouts.yolox,
}


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("layout", ALL)
def test_every_layout_is_told_apart_and_read(layout: Layout, dtype: type) -> None:
    outputs = {
        name: output.astype(dtype) if output.dtype == np.float32 else output
        for name, output in ALL[layout]().items()
    }
    assert find_layout(outputs, SIDE, SIDE) is layout
    assert find_layout(outputs, SIDE, SIDE, CLASSES) is layout
    assert find_layout(outputs, SIDE, SIDE, CLASSES, layout) is layout
    found = select(read(layout, outputs, 0, 0.25, SIDE, SIDE))
    close = 0.05 if dtype is np.float16 else 1e-3
    np.testing.assert_allclose(found.boxes, FOUND.boxes, atol=close)
    np.testing.assert_allclose(found.scores, FOUND.scores, atol=close)
    assert found.classes.tolist() == FOUND.classes.tolist()
    assert found.boxes.dtype == found.scores.dtype == np.float32


@pytest.mark.parametrize("layout", ALL)
def test_confidence_is_cut_while_reading(layout: Layout) -> None:
    assert len(read(layout, ALL[layout](), 0, 0.7, SIDE, SIDE)) == 1
    assert len(read(layout, ALL[layout](), 0, 0.99, SIDE, SIDE)) == 0


@pytest.mark.parametrize("layout", ALL)
def test_an_image_of_a_batch(layout: Layout) -> None:
    one = ALL[layout]()
    batch = {name: np.concatenate([np.zeros_like(each), each]) for name, each in one.items()}
    assert len(read(layout, batch, 1, 0.25, SIDE, SIDE)) == 2


def test_a_box_a_cell_in_pixels_is_not_taken_for_yolox() -> None:
    assert find_layout(layouts.yolov5(1), SIDE, SIDE) is Layout.YOLOV5


def test_nothing_found_at_all() -> None:
    empty = {"output0": np.zeros((1, 0, 6), np.float32)}
    assert find_layout(empty, SIDE, SIDE) is Layout.ROWS
    assert len(read(Layout.ROWS, empty, 0, 0.25, SIDE, SIDE)) == 0


def test_one_class_makes_six_columns_in_two_layouts() -> None:
    cells = {"output0": np.ones((1, 3 * layouts.CELLS, 6), np.float32)}
    assert find_layout(cells, SIDE, SIDE) is Layout.YOLOV5
    few = {"output0": np.ones((1, 300, 6), np.float32)}
    assert find_layout(few, SIDE, SIDE) is Layout.ROWS
    assert find_layout(few, SIDE, SIDE, layout=Layout.YOLOV5) is Layout.YOLOV5


def test_heads_of_one_detection_are_told_by_name() -> None:
    outputs = {
        name: each if name == "num_dets" else each[:, :1] for name, each in layouts.heads().items()
    }
    outputs["num_dets"] = np.array([[1]], np.int32)
    assert [list(each.shape) for each in outputs.values()] == [[1, 1], [1, 1, 4], [1, 1], [1, 1]]
    assert find_layout(outputs, SIDE, SIDE) is Layout.HEADS
    assert len(read(Layout.HEADS, outputs, 0, 0.25, SIDE, SIDE)) == 1


@pytest.mark.parametrize(
    "shapes",
    [
        {},
        {"probabilities": (1, 1000)},
        {"mask": (1, 1, 64, 64)},
        {"output0": (1, 40, 84), "output1": (1, 32, 16, 16)},
        {"rows": (100, 7)},
        {"a": (1,), "b": (1, 9, 4), "c": (1, 9), "d": (1, 9)},
        {"four": (1, 4, 84)},
    ],
)
def test_outputs_of_no_detector_are_shown(shapes: dict[str, tuple[int, ...]]) -> None:
    outputs = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    with pytest.raises(LayoutError) as raised:
        find_layout(outputs, SIDE, SIDE)
    for name, shape in shapes.items():
        assert f"'{name}' {list(shape)}" in str(raised.value)


def test_classes_that_do_not_fit_the_names() -> None:
    with pytest.raises(LayoutError, match=r"'output0' \[1, 7, 84\].*with C = 80 classes"):
        find_layout(layouts.yolov8(), SIDE, SIDE, 80)


def test_a_layout_of_the_settings_that_does_not_fit() -> None:
    with pytest.raises(LayoutError, match="rows does not fit"):
        find_layout(layouts.yolov8(), SIDE, SIDE, layout=Layout.ROWS)
