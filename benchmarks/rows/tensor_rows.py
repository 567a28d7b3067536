"""FP32 1x3x640x640 in, three numbers out: over one gRPC stream, or as near as a peer comes."""

from ..contenders.contenders import BY_HAND_GRPC, KSERVE, OURS, STOCK, TRITON
from ..contenders.peer_servers import starts
from ..inputs.tensor_request import are_ends, tensor, tensor_request
from ..loads.samples import Target
from .asked import HTTP_ONLY, PEERS, elements
from .measured import Case, Plan, Row, measured

TARGETS = (
    Target(TRITON, at_least=1.1),
    Target(STOCK, at_least=15),
    *map(Target, (BY_HAND_GRPC, KSERVE, *HTTP_ONLY)),
)
NOTE = ". KServe: unary gRPC; LitServe, BentoML: unary HTTP, the tensor as raw bytes"


def tensor_rows(plan: Plan) -> list[Row]:
    """Messages a second, 4.9 MB each."""
    data = tensor().tobytes()
    cases = [
        Case(
            f"FP32 tensor, gRPC, {mode}",
            "message",
            elements("tensor", tensor_request, data, are_ends, in_flight),
            TARGETS,
            note=NOTE,
        )
        for mode, in_flight in {"lockstep": 1, "8 in flight": 8}.items()
    ]
    return measured(plan, starts("tensor", OURS, *PEERS), cases)
