"""FP32 1x3x640x640 in, three numbers out: over one gRPC stream, or as near as a peer comes."""

from functools import partial

from ..contenders.contenders import (
    BENTOML,
    BY_HAND_GRPC,
    KSERVE,
    LITSERVE,
    OURS,
    STOCK,
    TRITON,
)
from ..contenders.peer_servers import starts
from ..inputs.tensor_request import (
    are_ends,
    is_one_answer,
    is_right_answer,
    tensor,
    tensor_request,
)
from ..inputs.triton_dialect import plain, unwrapped
from ..loads.event_stream import form
from ..loads.grpc_load import grpc_messages
from ..loads.plain_load import GrpcCall, HttpCall, h2load, wrk
from ..loads.samples import Target
from .measured import Call, Case, Plan, Row, measured

MODEL = "tensor"
MODES = {"lockstep": 1, "8 in flight": 8}
TARGETS = (
    Target(TRITON, at_least=1.1),
    Target(STOCK, at_least=15),
    Target(BY_HAND_GRPC),
    Target(KSERVE),
    Target(LITSERVE),
    Target(BENTOML),
)
NOTE = ". KServe: unary gRPC; LitServe, BentoML: unary HTTP, the tensor as raw bytes"


def tensor_rows(plan: Plan) -> list[Row]:
    """Messages a second, 4.9 MB each."""
    request, data = tensor_request(MODEL), tensor().tobytes()
    body, kind = form(data)
    raw = "application/octet-stream"

    def calls(in_flight: int) -> dict[str, Call]:
        found: dict[str, Call] = {
            who: (grpc_messages, [request], partial(is_right_answer, unwrap), in_flight)
            for who, unwrap in (
                (OURS, plain),
                (STOCK, plain),
                (TRITON, unwrapped),
                (BY_HAND_GRPC, plain),
            )
        }
        found[KSERVE] = (h2load, GrpcCall("ModelInfer", request, is_one_answer), in_flight)
        litserve = HttpCall("/predict", body, are_ends, content_type=kind)
        bentoml = HttpCall("/tensor", data, are_ends, content_type=raw)
        return {**found, LITSERVE: (wrk, litserve, in_flight), BENTOML: (wrk, bentoml, in_flight)}

    return measured(
        plan,
        starts(MODEL, OURS, *(target.over for target in TARGETS)),
        [
            Case(f"FP32 tensor, gRPC, {mode}", "message", calls(count), TARGETS, note=NOTE)
            for mode, count in MODES.items()
        ],
    )
