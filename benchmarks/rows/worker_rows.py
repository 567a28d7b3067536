"""Two worker processes on two cores: what they gain where Python blocks, what they cost text."""

from collections.abc import Callable
from functools import partial

from ..contenders.contenders import OURS, STOCK, TRITON, ours, stock
from ..contenders.peer_servers import Start, triton
from ..inputs.text_prompt import message, prompt, word
from ..loads.first_responses import first_responses
from ..loads.in_flight import items
from ..loads.plain_load import h2load
from ..loads.samples import Target
from .asked import events, messages, unary_message, unwrap, way
from .measured import FIRST_P50, SERVER_TIME, Call, Case, Plan, Row, measured

WORKERS = f"{OURS}, 2 workers"
STOCK_WORKERS = f"{STOCK}, 2 workers, unary"
TRITON_WORKERS = f"{TRITON}, 2 instances"
STREAMS = 4
BURN_AT_LEAST, TEXT_AT_LEAST = 1.7, 0.5
# The first response through a worker may come so much later.
FIRST_LATER_MS = 2.0
ASKED = "burn it"
NOTE = ". A response is some 5 ms of pure Python. In-process, it blocks the loop"


def workers(plan: Plan) -> list[Row]:
    """Ours with `parallel_workers: 2` beside ours in-process, on the same two cores."""
    starts: dict[str, Start] = {
        OURS: lambda folder, cores: ours(folder, cores, "burn"),
        WORKERS: lambda folder, cores: ours(folder, cores, "burn", parallel_workers=2),
        STOCK_WORKERS: lambda folder, cores: stock(folder, cores, "burn", parallel_workers=2),
        TRITON_WORKERS: lambda folder, cores: triton(folder, cores, "burn", 2),
    }
    burn: dict[str, Call] = {
        who: (items, way(name), [message("burn", ASKED)], partial(_says, unwrap(name)), 1, STREAMS)
        for who, name in ((OURS, OURS), (WORKERS, OURS), (TRITON_WORKERS, TRITON))
    }
    burn[STOCK_WORKERS] = (h2load, unary_message("burn", ASKED), STREAMS)
    targets = (
        Target(OURS, at_least=BURN_AT_LEAST, of=WORKERS),
        *(Target(who, of=WORKERS) for who in (STOCK_WORKERS, TRITON_WORKERS)),
    )
    title = f"CPU-bound Python model, {STREAMS} streams"
    cases = [Case(title, "response", burn, targets, note=NOTE)]
    beside = (
        Target(OURS, at_least=TEXT_AT_LEAST, of=WORKERS),
        Target(OURS, figure=SERVER_TIME, of=WORKERS),
        Target(OURS, at_most=FIRST_LATER_MS, figure=FIRST_P50, of=WORKERS, later=True),
    )
    wires = {"SSE": events(OURS, "text", prompt()), "gRPC": messages(OURS, "text", prompt())}
    for wire, call in wires.items():
        calls = dict.fromkeys((OURS, WORKERS), (first_responses, call, 1))
        title = f"text through 2 workers, {wire}, 1 stream"
        cases.append(Case(title, "response", calls, beside))
    return measured(plan, starts, cases, shared=True)


def _says(unwrap: Callable[[bytes], bytes], index: int, message: bytes) -> bool:
    """Whether a V2 response holds the prompt."""
    return word(unwrap(message)) == ASKED
