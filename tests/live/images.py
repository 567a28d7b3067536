"""Small images for the live tests."""

import cv2
import numpy as np


def jpeg(shade: int = 128, size: tuple[int, int] = (24, 32)) -> bytes:
    """A JPEG of one grey, `size` is its height and width."""
    image = np.full((*size, 3), shade, np.uint8)
    return cv2.imencode(".jpg", image)[1].tobytes()  # type: ignore[no-any-return]
