"""Draw detections on an image, readable at any size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from .detections import Detections
from .jpeg import Image

FONT = cv2.FONT_HERSHEY_SIMPLEX
# OpenCV's font is 22 pixels high at scale 1.
FONT_PIXELS = 22
WHITE, BLACK = (255, 255, 255), (0, 0, 0)
# Hues far apart for numbers that follow one another: steps by the golden ratio.
GOLDEN = 0.618034


@dataclass(frozen=True)
class Plate:
    """A line of text in the picture, in pixels; `descent` is what letters reach below the line."""

    text: str
    left: int
    top: int
    width: int
    height: int
    descent: int

    def covers(self, other: Plate) -> bool:
        """Whether one hides some of the other."""
        return (
            self.left < other.left + other.width
            and other.left < self.left + self.width
            and self.top < other.top + other.height
            and other.top < self.top + self.height
        )


def annotate(
    image: Image,
    found: Detections,
    labels: Sequence[str],
    track_ids: Sequence[int] | None = None,
    *,
    show_scores: bool = True,
) -> Image:
    """A copy of `image` with a box and a line of text for each detection.

    Args:
        image: uint8 [height, width, 3] BGR, or [height, width] grey.
        labels: one for each detection.
        track_ids: one for each detection, below 0 for one that is not tracked; a track keeps its
            colour. Without tracks, a class has its colour.

    Returns:
        uint8 [height, width, 3] BGR.
    """
    picture: Image = (
        cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)  # type: ignore[assignment]
        if image.ndim == 2
        else image.copy()
    )
    height, width = picture.shape[:2]
    thick = max(round(min(width, height) / 240), 1)
    scale = max(min(width, height) / 36, 11) / FONT_PIXELS
    tracks = list(track_ids) if track_ids is not None else [-1] * len(found)
    plates: list[Plate] = []
    for index in range(len(found)):
        left, top, _, bottom = (round(float(side)) for side in found.boxes[index])
        text = labels[index]
        if tracks[index] >= 0:
            text = f"#{tracks[index]} {text}"
        if show_scores:
            text = f"{text} {found.scores[index]:.2f}"
        # The best detection has the first choice of a place.
        plates.append(_plate(text, left, top, bottom, (width, height), scale, thick, plates))
    # It is drawn last, on top, should there be no place left.
    for index in reversed(range(len(found))):
        left, top, right, bottom = (round(float(side)) for side in found.boxes[index])
        colour = colour_of(tracks[index] if tracks[index] >= 0 else int(found.classes[index]))
        cv2.rectangle(picture, (left, top), (right, bottom), colour, thick, cv2.LINE_AA)
    for index in reversed(range(len(found))):
        colour = colour_of(tracks[index] if tracks[index] >= 0 else int(found.classes[index]))
        _write(picture, plates[index], scale, colour)
    return picture


def colour_of(number: int) -> tuple[int, int, int]:
    """A colour, BGR, that is the same for the same number and far from its neighbours'."""
    hsv = np.array([[[number * GOLDEN % 1 * 180, 210, 235]]]).astype(np.uint8)
    blue, green, red = cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)[0, 0]
    return int(blue), int(green), int(red)


def _plate(
    text: str,
    left: int,
    top: int,
    bottom: int,
    size: tuple[int, int],
    scale: float,
    thick: int,
    taken: Sequence[Plate],
) -> Plate:
    """Where a line of text goes: above its box, else within it or below it, where nothing is
    written yet; above it where all of that is taken."""
    # OpenCV's fonts know ASCII; a label in another script shows as its marks of unknown.
    (wide, high), below = cv2.getTextSize(text, FONT, scale, _weight(scale))
    wide, high = wide + thick, high + 2 * below
    left = max(min(left, size[0] - wide), 0)
    usual = top - high if top - high >= 0 else top
    for start in (usual, top, bottom, top - 2 * high, bottom - high, top + high):
        place = Plate(text, left, start, wide, high, below)
        if 0 <= start <= max(size[1] - high, 0) and not any(map(place.covers, taken)):
            return place
    return Plate(text, left, usual, wide, high, below)


def _write(picture: Image, plate: Plate, scale: float, colour: tuple[int, int, int]) -> None:
    """Text on its filled plate."""
    corner = plate.left + plate.width, plate.top + plate.height
    cv2.rectangle(picture, (plate.left, plate.top), corner, colour, cv2.FILLED)
    brightness = 0.114 * colour[0] + 0.587 * colour[1] + 0.299 * colour[2]
    ink = BLACK if brightness > 128 else WHITE
    at = plate.left + 1, plate.top + plate.height - plate.descent
    cv2.putText(picture, plate.text, at, FONT, scale, ink, _weight(scale), cv2.LINE_AA)


def _weight(scale: float) -> int:
    return max(round(scale * 1.5), 1)
