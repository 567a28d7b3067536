"""The FP32 1x3x640x640 request, encoded once."""

from collections.abc import Callable, Sequence

import numpy as np
from mlserver.grpc import dataplane_pb2 as pb
from numpy.typing import NDArray

SHAPE = (1, 3, 640, 640)
ELEMENTS = 1 * 3 * 640 * 640


def tensor() -> NDArray[np.float32]:
    """Numbers from 0 to 1, as a normalised image has them; the same ones every time."""
    return np.random.default_rng(0).random(SHAPE, np.float32)


def tensor_request(model: str) -> bytes:
    """The serialised ModelInferRequest, its tensor raw."""
    image = pb.ModelInferRequest.InferInputTensor(name="image", datatype="FP32", shape=SHAPE)
    return pb.ModelInferRequest(
        model_name=model, id="0", inputs=[image], raw_input_contents=[tensor().tobytes()]
    ).SerializeToString()


def is_right_answer(unwrap: Callable[[bytes], bytes], index: int, message: bytes) -> bool:
    """Whether an answer holds the first, the middle and the last element."""
    response = pb.ModelInferResponse.FromString(unwrap(message))
    return bool(response.raw_output_contents) and are_ends(response.raw_output_contents[0])


def is_one_answer(messages: Sequence[bytes]) -> bool:
    """Whether the one response does."""
    return is_right_answer(lambda message: message, 0, *messages)


def are_ends(raw: bytes) -> bool:
    """Whether these are the first, the middle and the last element, as bytes."""
    wanted = tensor().reshape(-1)[[0, ELEMENTS // 2, -1]]
    return np.array_equal(np.frombuffer(raw, np.float32), wanted)
