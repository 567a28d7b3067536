"""A generated video: shapes moving over a textured ground, with a frame counter.

Pure and deterministic: frame `index` depends on nothing but its arguments, so a test or a demo
needs no download and gets the same pixels in every run.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache

import cv2
import numpy as np

from .jpeg import Image

WIDTH, HEIGHT = 640, 360
FPS = 25
FRAMES = 150

# The texture is noise, always the same.
_SEED = 7
_CARS = (
    # lane (share of the height), pixels a frame at width 640, length (share of the width), BGR
    (0.70, 5.0, 0.14, (60, 60, 210)),
    (0.70, 5.0, 0.10, (70, 170, 240)),
    (0.84, -7.0, 0.16, (190, 120, 50)),
)


def moving_scene(
    frames: int = FRAMES, *, width: int = WIDTH, height: int = HEIGHT
) -> Iterator[Image]:
    """`frames` images, uint8 [height, width, 3] in BGR, meant to be shown at `FPS` a second."""
    return (scene_frame(index, width=width, height=height) for index in range(frames))


def scene_frame(index: int, *, width: int = WIDTH, height: int = HEIGHT) -> Image:
    """Frame `index` of the scene, uint8 [height, width, 3] in BGR."""
    image = _ground(width, height).copy()
    scale = width / WIDTH
    for place, (lane, speed, length, colour) in enumerate(_CARS):
        car = length * width
        # Off the picture on one side before it comes back on the other.
        x = (place * 0.45 * width + index * speed * scale) % (width + car) - car
        _draw_car(image, x, lane * height, car, 0.11 * height, colour)
    _draw_ball(image, index)
    _draw_star(image, index)
    _draw_counter(image, index)
    return image


@lru_cache(maxsize=4)
def _ground(width: int, height: int) -> Image:
    """Sky, grass and a road, with soft noise over them."""
    rows = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
    sky = np.array([235, 200, 150], np.float32) - rows * np.array([90, 40, 10], np.float32)
    picture = np.broadcast_to(sky, (height, width, 3)).copy()
    picture[int(0.52 * height) :] = (70, 125, 85)
    picture[int(0.62 * height) : int(0.95 * height)] = (88, 86, 84)
    middle = round(0.785 * height)
    for left in range(0, width, max(width // 12, 1)):
        picture[middle : middle + max(height // 120, 1), left : left + width // 24] = 225
    noise = np.random.default_rng(_SEED).normal(0, 14, (height, width, 3)).astype(np.float32)
    picture += cv2.GaussianBlur(noise, (0, 0), 1.2) * 2
    ground = np.clip(picture, 0, 255).astype(np.uint8)
    ground.setflags(write=False)
    return ground


def _draw_car(
    image: Image, x: float, y: float, length: float, height: float, colour: tuple[int, int, int]
) -> None:
    left, top, right, bottom = round(x), round(y - height / 2), round(x + length), round(y)
    cv2.rectangle(image, (left, top), (right, bottom), colour, cv2.FILLED, cv2.LINE_AA)
    cabin = round(x + length * 0.22), round(y - height), round(x + length * 0.75), top
    cv2.rectangle(image, cabin[:2], cabin[2:], colour, cv2.FILLED, cv2.LINE_AA)
    inset = max(round(height * 0.1), 1)
    window = (cabin[0] + inset, cabin[1] + inset), (cabin[2] - inset, cabin[3])
    cv2.rectangle(image, *window, (240, 225, 200), cv2.FILLED, cv2.LINE_AA)
    for share in (0.22, 0.78):
        centre = round(x + length * share), bottom
        cv2.circle(image, centre, round(height * 0.2), (30, 30, 30), cv2.FILLED, cv2.LINE_AA)


def _draw_ball(image: Image, index: int) -> None:
    """A ball that bounces from the left to the right and back."""
    height, width = image.shape[:2]
    radius = height // 14
    swing = abs((index / 60 + 0.5) % 2 - 1)
    centre = (
        round(radius + swing * (width - 2 * radius)),
        round(0.48 * height - abs(math.sin(index / 9)) * 0.3 * height),
    )
    cv2.circle(image, centre, radius, (40, 200, 250), cv2.FILLED, cv2.LINE_AA)
    cv2.circle(image, centre, radius, (20, 90, 140), 2, cv2.LINE_AA)


def _draw_star(image: Image, index: int) -> None:
    """A five-pointed star that turns on the spot."""
    height, width = image.shape[:2]
    angles = np.arange(10) * math.pi / 5 + index * 0.06
    radii = np.where(np.arange(10) % 2 == 0, 0.11 * height, 0.045 * height)
    points = np.stack([np.cos(angles) * radii, np.sin(angles) * radii], axis=1)
    points += (0.82 * width, 0.22 * height)
    cv2.fillPoly(image, [np.round(points).astype(np.int32)], (200, 70, 220), cv2.LINE_AA)


def _draw_counter(image: Image, index: int) -> None:
    height, width = image.shape[:2]
    cv2.rectangle(image, (0, 0), (round(0.24 * width), round(0.12 * height)), (40, 40, 40), -1)
    origin = (round(0.02 * width), round(0.085 * height))
    font = cv2.FONT_HERSHEY_SIMPLEX
    text = f"frame {index:04d}"
    cv2.putText(image, text, origin, font, height / 450, (255, 255, 255), 1, cv2.LINE_AA)
