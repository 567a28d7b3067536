"""Two worker processes on two cores: what they gain where Python blocks."""

from collections.abc import Callable
from functools import partial

from ..contenders.contenders import OURS, STOCK, TRITON, ours, stock
from ..contenders.peer_servers import Start, triton
from ..inputs.text_prompt import message, word
from ..loads.in_flight import items
from ..loads.plain_load import h2load
from ..loads.samples import Target
from .asked import unary_message, unwrap, way
from .measured import Call, Case, Plan, Row, measured

WORKERS = f"{OURS}, 2 workers"
STOCK_WORKERS = f"{STOCK}, 2 workers, unary"
TRITON_WORKERS = f"{TRITON}, 2 instances"
STREAMS = 4
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
    calls: dict[str, Call] = {
        who: (items, way(name), [message("burn", ASKED)], partial(_says, unwrap(name)), 1, STREAMS)
        for who, name in ((OURS, OURS), (WORKERS, OURS), (TRITON_WORKERS, TRITON))
    }
    calls[STOCK_WORKERS] = (h2load, unary_message("burn", ASKED), STREAMS)
    targets = (
        Target(OURS, at_least=1.7, of=WORKERS),
        *(Target(who, of=WORKERS) for who in (STOCK_WORKERS, TRITON_WORKERS)),
    )
    title = f"CPU-bound Python model, {STREAMS} streams"
    case = Case(title, "response", calls, targets, note=NOTE)
    return measured(plan, starts, [case], shared=True)


def _says(unwrap: Callable[[bytes], bytes], index: int, message: bytes) -> bool:
    """Whether a V2 response holds the prompt."""
    return word(unwrap(message)) == ASKED
