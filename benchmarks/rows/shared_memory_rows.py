"""Frames in and out of a model that gives them back: by shared memory beside the socket."""

import numpy as np

from ..contenders.contenders import OURS
from ..contenders.peer_servers import starts
from ..inputs.tensor_request import SHAPE, tensor
from ..loads.samples import Target
from ..loads.shared_memory_load import MODEL, Frame, frames_by_region, frames_by_socket
from .measured import Case, Plan, Row, measured

SHARED = f"{OURS}, shared memory"
LARGE, JPEG = 3.0, 1.1
JPEG_BYTES = 100_000
IN_FLIGHT = 2


def shared_memory(plan: Plan) -> list[Row]:
    """Messages a second each way, in one stream."""
    start = starts(MODEL, OURS, streaming={"shared_memory": {"enabled": True}})[OURS]
    cases = [
        Case(
            f"{title} in and out, gRPC, {IN_FLIGHT} in flight",
            "message",
            {
                OURS: (frames_by_socket, frame, IN_FLIGHT),
                SHARED: (frames_by_region, frame, IN_FLIGHT),
            },
            [Target(OURS, at_least=at_least, of=SHARED)],
        )
        for title, frame, at_least in (
            ("FP32 1x3x640x640", Frame(tensor().tobytes(), "FP32", SHAPE), LARGE),
            ("UINT8 1920x1080x3", _raw_frame(), LARGE),
            ("JPEG of 100 KB", _jpeg(), JPEG),
        )
    ]
    return measured(plan, {OURS: start, SHARED: start}, cases)


def _raw_frame() -> Frame:
    shape = (1080, 1920, 3)
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    return Frame(pixels.tobytes(), "UINT8", shape)


def _jpeg() -> Frame:
    """As a BYTES tensor of one element; nobody decodes it."""
    data = np.random.default_rng(0).bytes(JPEG_BYTES)
    return Frame(len(data).to_bytes(4, "little") + data, "BYTES", (1,))
