"""How long a service takes to be ready, and the memory that it then holds."""

import time
from functools import partial
from itertools import count
from pathlib import Path

from ..contenders.contenders import OURS, STOCK, ours, stock
from ..contenders.peer_servers import Start
from ..contenders.process import memory
from ..loads.samples import Sample, Target
from .measured import Case, Plan, Row, measured

ALL, NONE = f"{OURS}, all models", f"{STOCK}, no model"
READY, MEMORY = "ready_ms", "memory_mib"
NUMBERS = count()


def start(plan: Plan) -> list[Row]:
    """All models of the repository, beside stock with none."""
    calls = {
        ALL: (until_ready, partial(ours, everything=True), plan.folder, plan.all_cores),
        NONE: (until_ready, stock, plan.folder, plan.all_cores),
    }
    targets = (
        Target(NONE, at_most=1.3, figure=READY, of=ALL),
        Target(NONE, figure=MEMORY, of=ALL),
    )
    case = Case("start to ready", "start", calls, targets, ALL)
    return measured(plan, {}, [case], shared=True)


def until_ready(seconds: float, start: Start, folder: Path, cores: set[int]) -> Sample:
    """From its start until it answers that it is ready; `seconds` are as many as it takes."""
    contender = start(folder / f"start-{next(NUMBERS)}", cores)
    begun = time.perf_counter()
    with contender:
        ready = time.perf_counter() - begun
        return Sample({READY: 1e3 * ready, MEMORY: memory(contender.process.pid)})
