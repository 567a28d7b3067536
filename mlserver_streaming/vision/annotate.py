"""Draw detections on an image, readable at any size."""

from __future__ import annotations

from collections.abc import Sequence

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
    # The best detection is drawn last, on top.
    for index in reversed(range(len(found))):
        left, top, right, bottom = (round(float(side)) for side in found.boxes[index])
        colour = colour_of(tracks[index] if tracks[index] >= 0 else int(found.classes[index]))
        cv2.rectangle(picture, (left, top), (right, bottom), colour, thick, cv2.LINE_AA)
        text = labels[index]
        if tracks[index] >= 0:
            text = f"#{tracks[index]} {text}"
        if show_scores:
            text = f"{text} {found.scores[index]:.2f}"
        _write(picture, text, left, top, scale, thick, colour)
    return picture


def colour_of(number: int) -> tuple[int, int, int]:
    """A colour, BGR, that is the same for the same number and far from its neighbours'."""
    hsv = np.array([[[number * GOLDEN % 1 * 180, 210, 235]]]).astype(np.uint8)
    blue, green, red = cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)[0, 0]
    return int(blue), int(green), int(red)


def _write(
    picture: Image,
    text: str,
    left: int,
    top: int,
    scale: float,
    thick: int,
    colour: tuple[int, int, int],
) -> None:
    """Text on a filled plate above the point, or below it where the image ends."""
    # OpenCV's fonts know ASCII; a label in another script shows as its marks of unknown.
    weight = max(round(scale * 1.5), 1)
    (wide, high), below = cv2.getTextSize(text, FONT, scale, weight)
    left = max(min(left, picture.shape[1] - wide - thick), 0)
    base = top - below if top - high - 2 * below >= 0 else top + high + below
    plate = (left, base - high - below), (left + wide + thick, base + below)
    cv2.rectangle(picture, *plate, colour, cv2.FILLED)
    brightness = 0.114 * colour[0] + 0.587 * colour[1] + 0.299 * colour[2]
    ink = BLACK if brightness > 128 else WHITE
    cv2.putText(picture, text, (left + thick, base), FONT, scale, ink, weight, cv2.LINE_AA)
