"""Frames in and out of a model that gives them back: by shared memory beside the socket."""

import numpy as np

from ..contenders.contenders import OURS
from ..contenders.peer_servers import starts
from ..inputs.tensor_request import SHAPE, tensor
from ..loads.samples import Target
from ..loads.shared_memory_load import MODEL, Frame, frames_and_back
from .measured import Case, Plan, Row, measured

SHARED = f"{OURS}, shared memory"
IN_FLIGHT = 2


def shared_memory(plan: Plan) -> list[Row]:
    """Messages a second each way, in one stream."""
    random = np.random.default_rng(0).bytes
    full_hd, jpeg = (1080, 1920, 3), 100_000
    frames = {
        "FP32 1x3x640x640": (Frame(tensor().tobytes(), "FP32", SHAPE), 3.0),
        "UINT8 1920x1080x3": (Frame(random(1080 * 1920 * 3), "UINT8", full_hd), 3.0),
        # A BYTES tensor of one element: its length stands before it.
        "JPEG of 100 KB": (Frame(jpeg.to_bytes(4, "little") + random(jpeg), "BYTES", (1,)), 1.1),
    }
    cases = []
    for what, (frame, at_least) in frames.items():
        ways = {OURS: False, SHARED: True}
        calls = {who: (frames_and_back, frame, IN_FLIGHT, way) for who, way in ways.items()}
        title = f"{what} in and out, gRPC, {IN_FLIGHT} in flight"
        cases.append(Case(title, "message", calls, [Target(OURS, at_least, of=SHARED)]))
    start = starts(MODEL, OURS, streaming={"shared_memory": {"enabled": True}})[OURS]
    return measured(plan, {OURS: start, SHARED: start}, cases)
