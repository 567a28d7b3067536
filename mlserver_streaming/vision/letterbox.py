"""Fit an image into a model's input without distorting it, and find the way back.

The image is scaled to touch two sides and put in the middle; the rest is grey. The rounding is that
of Ultralytics' LetterBox, which the models of that family were trained with:
https://docs.ultralytics.com/reference/data/augment/#ultralytics.data.augment.LetterBox
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from .detections import clipped
from .jpeg import Image

GREY = 114


@dataclass(frozen=True, slots=True)
class Letterbox:
    """Where an image of `width` x `height` pixels lies in an input of `input_width` x
    `input_height`: scaled to `scaled_width` x `scaled_height`, its corner at (`left`, `top`).
    """

    width: int
    height: int
    input_width: int
    input_height: int
    scaled_width: int
    scaled_height: int
    left: int
    top: int

    @classmethod
    def fit(cls, width: int, height: int, input_width: int, input_height: int) -> Letterbox:
        """Fit an image of `width` x `height` pixels, both at least 1."""
        scale = min(input_width / width, input_height / height)
        # A very long image still keeps one line.
        scaled_width = max(round(width * scale), 1)
        scaled_height = max(round(height * scale), 1)
        return cls(
            width,
            height,
            input_width,
            input_height,
            scaled_width,
            scaled_height,
            round((input_width - scaled_width) / 2 - 0.1),
            round((input_height - scaled_height) / 2 - 0.1),
        )

    def apply(self, image: Image) -> Image:
        """The image in its place: uint8 [input_height, input_width, 3], as BGR as it came.

        Args:
            image: uint8 [height, width, 3], or [height, width] grey.
        """
        if image.ndim == 2:
            image = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)  # type: ignore[assignment]
        if (self.scaled_width, self.scaled_height) != (self.width, self.height):
            image = cv2.resize(  # type: ignore[assignment]
                image, (self.scaled_width, self.scaled_height), interpolation=cv2.INTER_LINEAR
            )
        canvas = np.full((self.input_height, self.input_width, 3), GREY, np.uint8)
        bottom, right = self.top + self.scaled_height, self.left + self.scaled_width
        canvas[self.top : bottom, self.left : right] = image
        return canvas

    def restore(self, boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Boxes [n, 4] in pixels of the input, as pixels of the image, cut at its edges."""
        across, down = self.width / self.scaled_width, self.height / self.scaled_height
        moved = boxes - np.array([self.left, self.top] * 2, np.float32)
        return clipped(moved * np.array([across, down] * 2, np.float32), self.width, self.height)


def to_tensor(image: Image, *, scale: float = 255.0, rgb: bool = True) -> NDArray[np.float32]:
    """An image as a model takes it: float32 [1, 3, height, width].

    Args:
        image: uint8 [height, width, 3] BGR.
        scale: what a full pixel is divided by: 255 gives 0 to 1, 1 leaves 0 to 255.
        rgb: red first; otherwise blue first, as in the image.
    """
    tensor = cv2.dnn.blobFromImage(image, 1 / scale, swapRB=rgb)
    return tensor  # type: ignore[return-value]
