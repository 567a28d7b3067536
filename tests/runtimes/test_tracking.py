import sys

import numpy as np
import pytest

from mlserver_streaming.models.errors import MLServerError
from mlserver_streaming.vision.detections import Detections, nothing
from runtimes.detection.tracking import UNTRACKED, Tracker


def at(*places: tuple[float, float], score: float = 0.8) -> Detections:
    corners = np.array(places, np.float32).reshape(-1, 2)
    return Detections(
        np.concatenate([corners, corners + np.array([60, 40])], axis=1),
        np.full(len(corners), score, np.float32),
        np.zeros(len(corners), np.int32),
    )


def test_objects_keep_their_numbers_in_any_order() -> None:
    tracker = Tracker(0.25)
    first = tracker.update(at((0, 0), (300, 200)))
    assert len(set(first)) == 2 and UNTRACKED not in first
    for step in range(1, 20):
        seen = tracker.update(at((300 - 4 * step, 200), (4 * step, 0)))
        assert seen.tolist() == first[::-1].tolist()


def test_an_object_out_of_sight_for_a_while_comes_back() -> None:
    tracker = Tracker(0.25)
    (number,) = tracker.update(at((0, 0)))
    for step in range(1, 6):
        tracker.update(at((5 * step, 0)))
    for _ in range(3):
        assert tracker.update(nothing()).tolist() == []
    assert tracker.update(at((45, 0))).tolist() == [number]


def test_what_is_not_sure_is_not_tracked() -> None:
    tracker = Tracker(0.5)
    assert tracker.update(at((0, 0), score=0.3)).tolist() == [UNTRACKED]
    assert tracker.update(at((0, 0), score=0.3), score=1.0).tolist() != [UNTRACKED]


def test_without_the_library_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "trackforge", None)
    with pytest.raises(MLServerError, match=r"pip install 'mlserver-streaming\[video\]'") as raised:
        Tracker(0.25)
    assert raised.value.status_code == 501
