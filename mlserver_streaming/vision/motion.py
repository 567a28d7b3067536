"""Moving objects, found as what differs from a learnt background (OpenCV's MOG2)."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from .detections import Detections, clipped, nothing
from .jpeg import Image


@dataclass(frozen=True, slots=True)
class MotionSettings:
    """How moving objects are found.

    Attributes:
        history: frames over which the background is learnt.
        threshold: how far, squared and in standard deviations, a pixel must be from the background.
        background_ratio: how much of the time a colour must be seen to count as background. Below
            OpenCV's 0.9, a busy road is still road.
        min_area: share of the image below which a moving spot is noise.
        max_side: larger images are looked at scaled down to this many pixels.
        shake: share of the image above which it is the camera that moves, not an object.
    """

    history: int = 500
    threshold: float = 20.0
    background_ratio: float = 0.7
    min_area: float = 0.001
    max_side: int = 960
    shake: float = 0.7

    def __post_init__(self) -> None:
        for name in ("history", "threshold", "max_side"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be above 0, not {getattr(self, name)}")
        for name in ("background_ratio", "min_area", "shake"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be from 0 to 1, not {getattr(self, name)}")


# Spots narrower than this share of the image's width are noise, and a bridge as narrow does not
# make one object of two; holes as narrow are closed.
SPECK = 1 / 128
# Two boxes of which the smaller one lies in the other to this share are one object.
SAME_OBJECT = 0.4


class Background:
    """What stands still before one camera. Feed it the frames in order, from one thread at a time.

    A frame of another size than the one before begins a new background.
    """

    def __init__(self, settings: MotionSettings | None = None) -> None:
        self._settings = settings or MotionSettings()
        self._size: tuple[int, ...] = ()

    def update(self, image: Image) -> Detections:
        """Learn one frame and find what moves in it; the first frame is only learnt.

        A score is the share of its box that moves; the class is always 0.

        Args:
            image: uint8 [height, width, 3] BGR, or [height, width] grey.
        """
        if image.ndim == 2:
            image = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)  # type: ignore[assignment]
        height, width = image.shape[:2]
        scale = min(self._settings.max_side / max(width, height), 1.0)
        if scale < 1:
            small = max(round(width * scale), 1), max(round(height * scale), 1)
            image = cv2.resize(image, small, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
        if image.shape != self._size:
            self._start(image)
            return nothing()
        mask = self._subtractor.apply(image)
        mask = cv2.morphologyEx(mask, cv2.MORPH_OPEN, self._speck)
        mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, self._speck)
        if cv2.countNonZero(mask) > self._settings.shake * mask.size:
            return nothing()
        found = self._objects(mask)  # type: ignore[arg-type]
        across, down = width / image.shape[1], height / image.shape[0]
        boxes = found.boxes * np.array([across, down] * 2, np.float32)
        return Detections(clipped(boxes, width, height), found.scores, found.classes)

    def _start(self, image: Image) -> None:
        self._size = image.shape
        self._subtractor = cv2.createBackgroundSubtractorMOG2(
            self._settings.history, self._settings.threshold, detectShadows=False
        )
        self._subtractor.setBackgroundRatio(self._settings.background_ratio)
        self._speck = _disc(max(round(image.shape[1] * SPECK), 3) | 1)
        self._subtractor.apply(image)

    def _objects(self, mask: NDArray[np.uint8]) -> Detections:
        outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        smallest = self._settings.min_area * mask.size
        boxes = [cv2.boundingRect(o) for o in outlines if cv2.contourArea(o) >= smallest]
        if not boxes:
            return nothing()
        corners = _merged(np.array([(x, y, x + w, y + h) for x, y, w, h in boxes], np.float32))
        scores = [
            cv2.countNonZero(mask[top:bottom, left:right]) / ((right - left) * (bottom - top))
            for left, top, right, bottom in corners.astype(int)
        ]
        return Detections(corners, np.array(scores, np.float32), np.zeros(len(corners), np.int32))


def _merged(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Boxes that lie mostly in a larger one are taken into it, until none does."""
    merged = True
    while merged:
        merged = False
        for index in np.argsort((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])):
            sides = np.minimum(boxes[index, 2:], boxes[:, 2:]) - np.maximum(
                boxes[index, :2], boxes[:, :2]
            )
            shared = np.clip(sides, 0, None).prod(axis=1)
            shared[index] = 0
            other = int(shared.argmax())
            if shared[other] >= SAME_OBJECT * (boxes[index, 2:] - boxes[index, :2]).prod():
                boxes[other, :2] = np.minimum(boxes[index, :2], boxes[other, :2])
                boxes[other, 2:] = np.maximum(boxes[index, 2:], boxes[other, 2:])
                boxes = np.delete(boxes, index, axis=0)
                merged = True
                break
    return boxes


def _disc(size: int) -> NDArray[np.uint8]:
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))  # type: ignore[return-value]
