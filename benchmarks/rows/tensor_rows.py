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
    cases = []
    for mode, in_flight in {"lockstep": 1, "8 in flight": 8}.items():
        calls = elements("tensor", tensor_request, tensor().tobytes(), are_ends, in_flight)
        title = f"FP32 tensor, gRPC, {mode}"
        cases.append(Case(title, "message", calls, TARGETS, note=NOTE))
    return measured(plan, starts("tensor", OURS, *PEERS), cases)
