"""Frames in and out of a model that gives them back: by shared memory beside the socket."""

from functools import partial

import numpy as np

from ..contenders.contenders import OURS, ours
from ..contenders.started import Start, started
from ..inputs.tensor_request import SHAPE, tensor
from ..loads.load_process import LoadProcess
from ..loads.shared_memory_load import MODEL, Frame, frames_by_region, frames_by_socket
from .measured import Target, measure_row
from .rows import PINNED, Plan, Row

SHARED = f"{OURS}, shared memory"
LARGE, JPEG = 3.0, 1.1
JPEG_BYTES = 100_000
IN_FLIGHT = 2


def shared_memory(plan: Plan) -> list[Row]:
    """Messages a second each way, in one stream."""
    enabled = {"triton_port": 8001, "shared_memory": {"enabled": True}}
    starts: dict[str, Start] = {
        OURS: lambda folder, cores: ours(folder, cores, MODEL, streaming=enabled)
    }
    with (
        started(starts, plan.folder / "shared-memory", plan.server_cores, OURS) as (servers, _),
        LoadProcess(plan.client_cores) as load,
    ):
        drives = {OURS: frames_by_socket, SHARED: frames_by_region}
        return [
            measure_row(
                f"{title} in and out, gRPC, {IN_FLIGHT} in flight",
                "message",
                PINNED,
                plan.rounds,
                {
                    who: partial(load.measure, servers[OURS], drive, frame, IN_FLIGHT, plan.seconds)
                    for who, drive in drives.items()
                },
                [Target(OURS, at_least=at_least, of=SHARED)],
                {},
            )
            for title, frame, at_least in (
                ("FP32 1x3x640x640", Frame(tensor().tobytes(), "FP32", SHAPE), LARGE),
                ("UINT8 1920x1080x3", _raw_frame(), LARGE),
                ("JPEG of 100 KB", _jpeg(), JPEG),
            )
        ]


def _raw_frame() -> Frame:
    shape = (1080, 1920, 3)
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    return Frame(pixels.tobytes(), "UINT8", shape)


def _jpeg() -> Frame:
    """As a BYTES tensor of one element; nobody decodes it."""
    data = np.random.default_rng(0).bytes(JPEG_BYTES)
    return Frame(len(data).to_bytes(4, "little") + data, "BYTES", (1,))
