"""Two worker processes on two cores: what they gain where Python blocks, what they cost text."""

from collections.abc import Callable
from functools import partial

from ..contenders.contenders import OURS, STOCK, TRITON, ours, stock
from ..contenders.peer_servers import Start, triton
from ..inputs.text_prompt import are_messages, is_message, message, prompt, word
from ..inputs.triton_dialect import plain, unwrapped
from ..loads.first_load import grpc_first, sse_first
from ..loads.grpc_load import grpc_messages
from ..loads.plain_load import GrpcCall, h2load
from ..loads.samples import Target
from .measured import FIRST_P50, SERVER_TIME, Call, Case, Plan, Row, measured
from .text_rows import sse_calls

WORKERS = f"{OURS}, 2 workers"
STOCK_WORKERS = f"{STOCK}, 2 workers, unary"
TRITON_WORKERS = f"{TRITON}, 2 instances"
STREAMS = 4
BURN_AT_LEAST, TEXT_AT_LEAST = 1.7, 0.5
# The first response through a worker may come so much later.
FIRST_LATER_MS = 2.0
ASKED = "burn it"


def workers(plan: Plan) -> list[Row]:
    """Ours with `parallel_workers: 2` beside ours in-process, on the same two cores."""
    starts: dict[str, Start] = {
        OURS: lambda folder, cores: ours(folder, cores, "burn"),
        WORKERS: lambda folder, cores: ours(folder, cores, "burn", parallel_workers=2),
        STOCK_WORKERS: lambda folder, cores: stock(folder, cores, "burn", parallel_workers=2),
        TRITON_WORKERS: lambda folder, cores: triton(folder, cores, "burn", 2),
    }
    request = message("burn", ASKED)
    burn: dict[str, Call] = {
        who: (grpc_messages, [request], partial(says, unwrap), 1, STREAMS)
        for who, unwrap in ((OURS, plain), (WORKERS, plain), (TRITON_WORKERS, unwrapped))
    }
    unary = GrpcCall("ModelInfer", request, partial(is_message, plain, ASKED))
    burn[STOCK_WORKERS] = (h2load, unary, STREAMS)
    targets = (
        Target(OURS, at_least=BURN_AT_LEAST, of=WORKERS),
        *(Target(who, of=WORKERS) for who in (STOCK_WORKERS, TRITON_WORKERS)),
    )
    note = ". A response is some 5 ms of pure Python. In-process, it blocks the loop"
    title = f"CPU-bound Python model, {STREAMS} streams"
    cases = [Case(title, "response", burn, targets, note=note)]
    right = partial(are_messages, plain, prompt())
    streamed = GrpcCall("ModelStreamInfer", message("text-model", prompt()), right)
    wires: dict[str, Call] = {
        "SSE": (sse_first, sse_calls()[OURS], 1),
        "gRPC": (grpc_first, streamed, 1),
    }
    beside = (
        Target(OURS, at_least=TEXT_AT_LEAST, of=WORKERS),
        Target(OURS, figure=SERVER_TIME, of=WORKERS),
        Target(OURS, at_most=FIRST_LATER_MS, figure=FIRST_P50, of=WORKERS, later=True),
    )
    cases += [
        Case(
            f"text through 2 workers, {wire}, 1 stream",
            "response",
            dict.fromkeys((OURS, WORKERS), call),
            beside,
        )
        for wire, call in wires.items()
    ]
    return measured(plan, starts, cases, shared=True)


def says(unwrap: Callable[[bytes], bytes], index: int, message: bytes) -> bool:
    """Whether a V2 response holds the prompt."""
    return word(unwrap(message)) == ASKED
