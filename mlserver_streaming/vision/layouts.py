"""The ways in which detectors lay out their output tensors, told apart by shape.

    rows      [B, M, 6]                     x1 y1 x2 y2 score class: suppressed already
    heads     [B], [B, M, 4], [B, M] twice  number, boxes, scores, classes: suppressed already
    yolov8    [B, 4+C, N]                   cx cy w h, then a score for each class
    yolov5    [B, N, 5+C]                   cx cy w h, objectness, then a score for each class
    yolox     [B, N, 5+C]                   the same, boxes still relative to the cells of a grid

N is the number of cells of the grids of strides 8, 16 and 32 (one or three boxes a cell).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from .detections import Detections, Floats, nothing

STRIDES = (8, 16, 32)
# A centre in pixels of an input lies anywhere in it; one relative to its cell lies near the cell.
FURTHEST_OFFSET = 32.0

Array = NDArray[np.floating]


class Layout(StrEnum):
    ROWS, HEADS, YOLOV8, YOLOV5, YOLOX = "rows", "heads", "yolov8", "yolov5", "yolox"


class LayoutError(ValueError):
    """These outputs are not those of a detector that is known; the text has their shapes."""


def find_layout(
    outputs: Mapping[str, Array],
    height: int,
    width: int,
    class_count: int | None = None,
    layout: Layout | None = None,
) -> Layout:
    """The layout of what a model gave for one image.

    Args:
        outputs: the model's outputs by name, in its order, for a batch of one.
        height, width: size of the model's input.
        class_count: how many classes the model is known to have.
        layout: what the settings say; only checked then.

    Raises:
        LayoutError: it is none that is known.
    """
    shapes = {name: tuple(output.shape) for name, output in outputs.items()}
    found = _told_apart(outputs, shapes, height, width, class_count, layout)
    if found is None or (layout is not None and found is not layout):
        seen = ", ".join(f"'{name}' {list(shape)}" for name, shape in shapes.items())
        wanted = f"{layout.value} does not fit" if layout else "none of the known layouts fits"
        raise LayoutError(
            f"{wanted} the model's outputs {seen or '(none)'}; known are rows [1, M, 6], heads "
            "(num [1], boxes [1, M, 4], scores [1, M], classes [1, M]), yolov8 [1, 4+C, N] and "
            "yolov5 or yolox [1, N, 5+C]"
            + (f", with C = {class_count} classes." if class_count is not None else ".")
        )
    return found


def _told_apart(
    outputs: Mapping[str, Array],
    shapes: Mapping[str, tuple[int, ...]],
    height: int,
    width: int,
    class_count: int | None,
    wanted: Layout | None,
) -> Layout | None:
    if len(shapes) == 4:
        try:
            heads(shapes)
        except LayoutError:
            return None
        return Layout.HEADS
    if len(shapes) != 1:
        return None
    (shape,) = shapes.values()
    if len(shape) != 3 or shape[0] != 1:
        return None
    rows, columns = shape[1:]
    cells = sum((height // stride) * (width // stride) for stride in STRIDES)
    if columns == 6 and wanted in (None, Layout.ROWS) and rows not in (cells, 3 * cells):
        return Layout.ROWS
    if rows < columns or wanted is Layout.YOLOV8:
        fits = rows - 4 == class_count if class_count is not None else rows > 4
        return Layout.YOLOV8 if fits else None
    if not (columns - 5 == class_count if class_count is not None else columns > 5):
        return None
    if wanted in (Layout.YOLOV5, Layout.YOLOX):
        return wanted if wanted is Layout.YOLOV5 or rows == cells else None
    (output,) = outputs.values()
    near = bool(np.abs(output[0, :, :2]).max(initial=0) < FURTHEST_OFFSET)
    return Layout.YOLOX if rows == cells and near else Layout.YOLOV5


def heads(shapes: Mapping[str, Sequence[int]]) -> tuple[str, str, str, str]:
    """The names of the four outputs that hold number, boxes, scores and classes, for a batch of B.

    Raises:
        LayoutError: one is not among them.
    """
    number = [n for n, shape in shapes.items() if len(shape) < 2 or list(shape[1:]) == [1]]
    boxes = [n for n, shape in shapes.items() if len(shape) == 3 and shape[2] == 4]
    # With M of 1 the others look like the number; their names tell.
    if len(number) > 1:
        number = [n for n in number if n.lower().startswith("num")]
    flat = [n for n, shape in shapes.items() if len(shape) == 2 and n not in number]
    scores = [n for n in flat if "score" in n.lower() or "conf" in n.lower()]
    classes = [n for n in flat if "class" in n.lower() or "label" in n.lower()]
    for found in (number, boxes, scores, classes):
        if len(found) != 1:
            raise LayoutError("number, boxes, scores and classes are not told apart by name.")
    return number[0], boxes[0], scores[0], classes[0]


def read(
    layout: Layout,
    outputs: Mapping[str, Array],
    index: int,
    confidence: float,
    height: int,
    width: int,
) -> Detections:
    """What the outputs say of image `index` of a batch, before any suppression.

    Args:
        confidence: what scores less is left out early.
        height, width: size of the model's input, in whose pixels the boxes are.
    """
    if layout is Layout.HEADS:
        number, boxes, scores, classes = heads({n: o.shape for n, o in outputs.items()})
        count = int(outputs[number].reshape(-1)[index])
        return _kept(
            outputs[boxes][index, :count],
            outputs[scores][index, :count],
            outputs[classes][index, :count],
            confidence,
        )
    (output,) = outputs.values()
    output = output[index]
    if layout is Layout.ROWS:
        return _kept(output[:, :4], output[:, 4], output[:, 5], confidence)
    if layout is Layout.YOLOV8:
        scores = output[4:].max(axis=0)
        keep = np.flatnonzero(scores >= confidence)
        columns = output[:, keep]
        return Detections(
            _corners(columns[:4].T),
            _floats(scores[keep]),
            columns[4:].argmax(axis=0).astype(np.int32),
        )
    # A score is the objectness times that of the class, so no row below can be above.
    keep = np.flatnonzero(output[:, 4] >= confidence)
    rows = output[keep].astype(np.float32)
    if not len(rows):
        return nothing()
    if layout is Layout.YOLOX:
        cells, strides = _grid(height, width)
        rows[:, :2] = (rows[:, :2] + cells[keep]) * strides[keep]
        rows[:, 2:4] = np.exp(rows[:, 2:4]) * strides[keep]
    found = rows[:, 5:] * rows[:, 4:5]
    return _kept(_corners(rows[:, :4]), found.max(axis=1), found.argmax(axis=1), confidence)


def _kept(boxes: Array, scores: Array, classes: Array, confidence: float) -> Detections:
    keep = scores >= confidence
    return Detections(
        _floats(boxes[keep]), _floats(scores[keep]), classes[keep].round().astype(np.int32)
    )


def _corners(boxes: Array) -> Floats:
    """Centre and size to corners, [n, 4]."""
    boxes = boxes.astype(np.float32)
    half = boxes[:, 2:] / 2
    return np.concatenate([boxes[:, :2] - half, boxes[:, :2] + half], axis=1)


def _grid(height: int, width: int) -> tuple[Floats, Floats]:
    """Column and row [N, 2] of every cell, and its stride [N, 1]."""
    cells, strides = [], []
    for stride in STRIDES:
        rows, columns = np.mgrid[: height // stride, : width // stride]
        cells.append(np.stack([columns.ravel(), rows.ravel()], axis=1))
        strides.append(np.full((rows.size, 1), stride))
    return _floats(np.concatenate(cells)), _floats(np.concatenate(strides))


def _floats(values: NDArray[np.number]) -> Floats:
    return values.astype(np.float32)
