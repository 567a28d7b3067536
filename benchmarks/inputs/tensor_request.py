"""The FP32 1x3x640x640 request, encoded once."""

import numpy as np
from numpy.typing import NDArray

from clients.grpc_messages import raw_request

SHAPE = (1, 3, 640, 640)
ELEMENTS = 1 * 3 * 640 * 640


def tensor() -> NDArray[np.float32]:
    """Numbers from 0 to 1, as a normalised image has them; the same ones every time."""
    return np.random.default_rng(0).random(SHAPE, np.float32)


def tensor_request(model: str) -> list[bytes]:
    """The one serialised ModelInferRequest, its tensor raw."""
    request = raw_request(
        tensor().tobytes(),
        datatype="FP32",
        shape=SHAPE,
        model=model,
        request_id="0",
        tensor="image",
    )
    return [request.SerializeToString()]


def are_ends(index: int, raw: bytes) -> bool:
    """Whether these are the first, the middle and the last element, as bytes."""
    wanted = tensor().reshape(-1)[[0, ELEMENTS // 2, -1]]
    return np.array_equal(np.frombuffer(raw, np.float32), wanted)
