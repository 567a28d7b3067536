"""The same two objects, written down as each layout has it, for an input of 64x64."""

import numpy as np

from mlserver_streaming.vision.detections import Detections
from mlserver_streaming.vision.layouts import STRIDES

SIDE = 64
CLASSES = 3
CELLS = sum((SIDE // stride) ** 2 for stride in STRIDES)
FOUND = Detections(
    np.array([[8, 12, 28, 40], [33, 20, 63, 50]], np.float32),
    np.array([0.9, 0.6], np.float32),
    np.array([2, 0], np.int32),
)
# Cells in which the two are written: of the finest grid, and of the next.
PLACES = (5, (SIDE // 8) ** 2 + 3)


def rows(spare: int = 4) -> dict[str, np.ndarray]:
    table = np.zeros((1, 2 + spare, 6), np.float32)
    table[0, :2] = np.column_stack([FOUND.boxes, FOUND.scores, FOUND.classes])
    return {"output0": table}


def heads(spare: int = 4) -> dict[str, np.ndarray]:
    table = rows(spare)["output0"]
    # What stands behind the number is left over from another image.
    table[0, 2:, 4] = 0.99
    return {
        "num_dets": np.array([[2]], np.int32),
        "boxes": table[..., :4],
        "scores": table[..., 4],
        "classes": table[..., 5].astype(np.int32),
    }


def yolov8() -> dict[str, np.ndarray]:
    table = np.zeros((1, 4 + CLASSES, CELLS), np.float32)
    for index, place in enumerate(PLACES):
        table[0, :4, place] = centred(FOUND.boxes[index])
        table[0, 4 + FOUND.classes[index], place] = FOUND.scores[index]
    return {"output0": table}


def yolov5(boxes_a_cell: int = 3) -> dict[str, np.ndarray]:
    table = np.zeros((1, CELLS * boxes_a_cell, 5 + CLASSES), np.float32)
    table[0, :, :2] = np.linspace(0, SIDE, CELLS * boxes_a_cell)[:, None]
    for index, place in enumerate(PLACES):
        table[0, place, :4] = centred(FOUND.boxes[index])
        table[0, place, 4] = 0.95
        table[0, place, 5 + FOUND.classes[index]] = FOUND.scores[index] / 0.95
    return {"output0": table}


def yolox() -> dict[str, np.ndarray]:
    """As `yolov5` with a box a cell, boxes relative to their cells."""
    found = yolov5(1)["output0"]
    start = 0
    for stride in STRIDES:
        across = SIDE // stride
        for cell in range(across**2):
            row = found[0, start + cell]
            if row[4]:
                row[:2] = row[:2] / stride - [cell % across, cell // across]
                row[2:4] = np.log(row[2:4] / stride)
            else:
                row[:2] = 0
        start += across**2
    return {"output": found}


def centred(box: np.ndarray) -> list[float]:
    left, top, right, bottom = box
    return [(left + right) / 2, (top + bottom) / 2, right - left, bottom - top]
