import numpy as np
import pytest

from mlserver_streaming.vision.detections import (
    MAX_CANDIDATES,
    Detections,
    clipped,
    nothing,
    select,
)


def found(*rows: tuple[float, float, float, float, float, int]) -> Detections:
    table = np.array(rows, np.float32).reshape(-1, 6)
    return Detections(table[:, :4], table[:, 4], table[:, 5].astype(np.int32))


CAR = (10, 10, 50, 50, 0.9, 2)
SAME_CAR = (12, 11, 51, 52, 0.8, 2)
BUS_THERE = (12, 11, 51, 52, 0.85, 5)
FAINT = (200, 200, 220, 240, 0.1, 2)


def scores(detections: Detections) -> list[float]:
    return [round(float(score), 2) for score in detections.scores]


def test_the_weaker_of_two_boxes_of_one_class_goes() -> None:
    assert scores(select(found(SAME_CAR, CAR, BUS_THERE, FAINT))) == [0.9, 0.85]


@pytest.mark.parametrize(
    ("wishes", "expected"),
    [
        ({"confidence": 0.05}, [0.9, 0.85, 0.1]),
        ({"confidence": 0.87}, [0.9]),
        ({"iou": 1}, [0.9, 0.85, 0.8]),
        ({"iou": 0.95}, [0.9, 0.85, 0.8]),
        ({"classes": [5]}, [0.85]),
        ({"classes": []}, []),
        ({"max_detections": 1}, [0.9]),
    ],
)
def test_wishes(wishes: dict, expected: list[float]) -> None:
    assert scores(select(found(SAME_CAR, CAR, BUS_THERE, FAINT), **wishes)) == expected


def test_suppression_is_that_of_a_plain_loop() -> None:
    """OpenCV's against the textbook's, on boxes that overlap in every way."""
    random = np.random.default_rng(3)
    corners = random.uniform(0, 80, (200, 2))
    boxes = np.concatenate([corners, corners + random.uniform(5, 40, (200, 2))], axis=1)
    detections = Detections(
        boxes.astype(np.float32),
        random.permutation(np.linspace(0.3, 0.9, 200)).astype(np.float32),
        random.integers(0, 3, 200).astype(np.int32),
    )
    kept: list[int] = []
    for index in np.argsort(-detections.scores):
        rivals = [k for k in kept if detections.classes[k] == detections.classes[index]]
        if all(overlap(boxes[index], boxes[k]) <= 0.45 for k in rivals):
            kept.append(int(index))
    chosen = select(detections)
    assert np.array_equal(chosen.boxes, detections.boxes[kept])


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    sides = np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None)
    shared = sides.prod()
    return shared / ((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - shared)


def test_nothing_and_nonsense() -> None:
    assert len(select(nothing())) == 0
    boxes = np.array([[np.nan, 0, 1, 1], [0, 0, np.inf, 1], [0, 0, 1, 1]], np.float32)
    nonsense = Detections(boxes, np.array([0.9, 0.9, np.nan], np.float32), np.zeros(3, np.int32))
    assert len(select(nonsense, confidence=0)) == 0


def test_only_the_best_are_compared() -> None:
    count = MAX_CANDIDATES + 100
    places = np.arange(count, dtype=np.float32)[:, None] * 10
    boxes = np.concatenate([places, places, places + 5, places + 5], axis=1)
    many = Detections(
        boxes, np.linspace(0.3, 0.9, count, dtype=np.float32), np.zeros(count, np.int32)
    )
    kept = select(many, max_detections=count)
    assert len(kept) == MAX_CANDIDATES
    assert kept.scores[0] == pytest.approx(0.9)


def test_boxes_end_at_the_edges() -> None:
    boxes = np.array([[-5, -5, 700, 500]], np.float32)
    cut = clipped(boxes, 640, 360)
    assert cut.tolist() == [[0, 0, 640, 360]]
    assert cut.dtype == np.float32
