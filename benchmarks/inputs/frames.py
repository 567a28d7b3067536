"""640x480 JPEG frames of about 94 KB, the requests that carry them, and what answers must hold."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from clients.grpc_messages import Parameter, bytes_request

WIDTH, HEIGHT, QUALITY = 640, 480, 95
COUNT = 16
# Texture's scale and strength, and grain in the light, tuned so that a frame at quality 95 has the
# 94 KB of a camera's; in the dark, where grain is all there is, 100 KB.
Scene = Literal["drawn", "noisy"]
SCENES = {"drawn": (2.5, 60.0, 2.0), "noisy": (2.5, 0.0, 3.4)}
# Grey levels, in the mean, that coding a frame once more may change.
MAX_MEAN_CHANGE = 3.0


@cache
def frames(scene: Scene = "drawn") -> tuple[bytes, ...]:
    """Frames of a textured scene that moves, or of a noisy one; the same ones every time."""
    sigma, strength, grain_levels = SCENES[scene]
    random = np.random.default_rng(7)
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
    light = np.dstack(
        [90 + 70 * np.sin(x / 70), 110 + 60 * np.cos(y / 50), 120 + 50 * np.sin((x + y) / 90)]
    )
    texture = cv2.GaussianBlur(
        random.normal(0, 1, (HEIGHT, WIDTH, 3)).astype(np.float32), (0, 0), sigma
    )
    coded = []
    for index in range(COUNT):
        grain = random.normal(0, grain_levels, (HEIGHT, WIDTH, 1))
        image = np.roll(light + strength * texture, 8 * index, axis=1) + grain
        image = np.clip(image, 0, 255).astype(np.uint8)
        coded.append(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes())
    return tuple(coded)


def frame_requests(model: str, scene: Scene = "drawn") -> list[bytes]:
    """A serialised ModelInferRequest a frame; its id is its place."""
    return element_requests(model, "image", frames(scene))


def element_requests(
    model: str,
    tensor: str,
    elements: Sequence[bytes],
    parameters: Mapping[str, Parameter] | None = None,
) -> list[bytes]:
    """The same for any elements, each a BYTES tensor of one."""
    return [
        bytes_request(
            element, model=model, request_id=str(index), tensor=tensor, parameters=parameters
        ).SerializeToString()
        for index, element in enumerate(elements)
    ]


def is_right_frame(scene: Scene, index: int, jpeg: bytes) -> bool:
    """Whether a JPEG shows frame `index`."""
    image, frame = decoded(jpeg), decoded(frames(scene)[index])
    return image.shape == frame.shape and bool(
        np.abs(image.astype(np.int16) - frame).mean() < MAX_MEAN_CHANGE
    )


def decoded(jpeg: bytes) -> NDArray[np.int16]:
    image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    return np.zeros(0, np.int16) if image is None else image.astype(np.int16)
