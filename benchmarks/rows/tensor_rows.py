"""FP32 1x3x640x640 in, three numbers out: over one gRPC stream, or as near as a peer comes."""

from functools import partial

from ..contenders.contenders import BARE, OURS, STOCK, bare, ours, stock
from ..contenders.peer_servers import (
    BENTOML,
    BY_HAND_GRPC,
    KSERVE,
    LITSERVE,
    TRITON,
    bentoml,
    by_hand_grpc,
    kserve,
    litserve,
    triton,
)
from ..contenders.started import Start, started
from ..inputs.tensor_request import are_ends, is_right_answer, tensor, tensor_request
from ..loads.grpc_load import grpc_messages, grpc_unary
from ..loads.http_load import http_calls, post, post_file
from ..loads.load_process import LoadProcess
from ..loads.samples import Sample
from ..loads.triton_dialect import plain, unwrapped
from .measured import Target, measure_row
from .rows import PINNED, Plan, Row

MODEL = "tensor"
MODES = {"lockstep": 1, "8 in flight": 8}
STARTS: dict[str, Start] = {
    OURS: lambda folder, cores: ours(folder, cores, MODEL),
    STOCK: lambda folder, cores: stock(folder, cores, MODEL),
    TRITON: lambda folder, cores: triton(folder, cores, MODEL),
    KSERVE: kserve,
    LITSERVE: lambda folder, cores: litserve(folder, cores, MODEL),
    BENTOML: bentoml,
    BY_HAND_GRPC: by_hand_grpc,
    BARE: bare,
}
TARGETS = (
    Target(BARE, at_least=0.9),
    Target(TRITON, at_least=1.1),
    Target(STOCK, at_least=15),
    Target(BY_HAND_GRPC),
    Target(KSERVE),
    Target(LITSERVE),
    Target(BENTOML),
)
NOTE = "KServe: unary gRPC; LitServe, BentoML: unary HTTP, the tensor as raw bytes"


def tensor_rows(plan: Plan) -> list[Row]:
    """Messages a second, 4.9 MB each."""
    request, data = [tensor_request(MODEL)], tensor().tobytes()
    right = partial(is_right_answer, plain)
    calls = {
        **{who: (grpc_messages, request, right) for who in (OURS, STOCK, BY_HAND_GRPC, BARE)},
        TRITON: (grpc_messages, request, partial(is_right_answer, unwrapped)),
        KSERVE: (grpc_unary, request, right),
        LITSERVE: (http_calls, [post_file("/predict", data)], are_ends),
        BENTOML: (http_calls, [post("/tensor", data)], are_ends),
    }
    with (
        started(STARTS, plan.folder / "tensor", plan.server_cores, OURS) as (servers, absent),
        LoadProcess(plan.client_cores) as load,
    ):

        def window(who: str, in_flight: int) -> Sample:
            drive, requests, is_right = calls[who]
            return load.measure(servers[who], drive, requests, is_right, in_flight, plan.seconds)

        return [
            measure_row(
                f"FP32 tensor, gRPC, {mode}",
                "message",
                f"{PINNED}. {NOTE}",
                plan.rounds,
                {who: partial(window, who, in_flight) for who in calls if who in servers},
                TARGETS,
                absent,
            )
            for mode, in_flight in MODES.items()
        ]
