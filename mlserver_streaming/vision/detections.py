"""Detections: boxes with a score and a class, and how to choose among them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]

# Suppression compares boxes pair by pair: past this many, only the best are compared.
MAX_CANDIDATES = 4096


@dataclass(frozen=True, slots=True)
class Detections:
    """What was found in one image.

    Attributes:
        boxes: float32 [n, 4], left top right bottom, in pixels.
        scores: float32 [n], 0 to 1.
        classes: int32 [n].
    """

    boxes: Floats
    scores: Floats
    classes: Ints

    def __len__(self) -> int:
        return len(self.scores)

    def at(self, index: Any) -> Detections:
        """Those that a numpy index names."""
        return Detections(self.boxes[index], self.scores[index], self.classes[index])


def nothing() -> Detections:
    """No detections."""
    return Detections(np.empty((0, 4), np.float32), np.empty(0, np.float32), np.empty(0, np.int32))


def select(
    found: Detections,
    *,
    confidence: float = 0.25,
    iou: float = 0.45,
    classes: Sequence[int] | None = None,
    max_detections: int = 300,
) -> Detections:
    """The detections to report, the best first.

    Args:
        confidence: those that score less are left out.
        iou: of two boxes of one class that share more than this (intersection over union), the
            one that scores less is left out; 1 leaves out none.
        classes: only these; None is all.
    """
    keep = (found.scores >= confidence) & np.isfinite(found.boxes).all(axis=1)
    if classes is not None:
        keep &= np.isin(found.classes, np.asarray(classes, np.int32))
    order = np.flatnonzero(keep)
    order = order[np.argsort(-found.scores[order], kind="stable")][:MAX_CANDIDATES]
    found = found.at(order)
    if iou < 1 and len(found):
        found = found.at(_not_suppressed(found, iou))
    return found.at(slice(max_detections))


def _not_suppressed(found: Detections, iou: float) -> NDArray[np.intp]:
    """Indices that OpenCV's suppression keeps, class by class, the best first."""
    corners = found.boxes.astype(np.float64)
    sizes = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)
    kept = cv2.dnn.NMSBoxesBatched(
        sizes,  # type: ignore[arg-type]
        found.scores,  # type: ignore[arg-type]
        found.classes,  # type: ignore[arg-type]
        -1.0,  # the scores have been looked at
        iou,
    )
    return np.sort(np.asarray(kept, np.intp).reshape(-1))


def clipped(boxes: Floats, width: int, height: int) -> Floats:
    """Boxes cut at the edges of an image of this size in pixels."""
    limits = np.array([width, height, width, height], np.float32)
    return np.clip(boxes, np.zeros(4, np.float32), limits)
