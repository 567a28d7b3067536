"""Two worker processes on two cores: what they gain where Python blocks, what they cost text."""

import json
from collections.abc import Callable
from functools import partial
from typing import Any

from ..contenders.contenders import OURS, STOCK, ours, stock
from ..contenders.peer_servers import (
    BENTOML,
    BY_HAND_GRPC,
    KSERVE,
    LITSERVE,
    TRITON,
    bentoml,
    litserve,
    triton,
)
from ..contenders.started import Start, started
from ..inputs.text_prompt import prompt
from ..loads.grpc_load import grpc_messages, grpc_streams, grpc_unary, text_call, word
from ..loads.http_load import http_calls, post
from ..loads.load_process import LoadProcess
from ..loads.samples import Sample, Spread, judged, pairs
from ..loads.sse_load import sse_streams
from ..loads.sse_load import text_call as sse_call
from ..loads.triton_dialect import plain, unwrapped
from .measured import FIRST_P50, FIRST_P99, SERVER_TIME, Target, measure_row
from .rows import SHARED, Plan, Row

WORKERS = f"{OURS}, 2 workers"
STOCK_WORKERS = f"{STOCK}, 2 workers, unary"
TRITON_WORKERS, LITSERVE_WORKERS = f"{TRITON}, 2 instances", f"{LITSERVE}, 2 workers"
BENTOML_WORKERS = f"{BENTOML}, 2 workers"
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
        TRITON_WORKERS: lambda folder, cores: triton(folder, cores, "burn", instances=2),
        LITSERVE_WORKERS: lambda folder, cores: litserve(folder, cores, "burn", workers=2),
        BENTOML_WORKERS: lambda folder, cores: bentoml(folder, cores, workers=2),
    }
    with (
        started(starts, plan.folder / "workers", plan.all_cores, OURS) as (servers, absent),
        LoadProcess(plan.all_cores) as load,
    ):

        def measures(windows: dict[str, Any]) -> dict[str, Callable[[], Sample]]:
            return {
                who: partial(load.measure, servers[who], *window)
                for who, window in windows.items()
                if who in servers
            }

        rows = [
            measure_row(
                f"CPU-bound Python model, {STREAMS} streams",
                "response",
                f"{SHARED}. A response is some 5 ms of pure Python. In-process, it blocks the loop",
                plan.rounds,
                measures(burn_windows(plan)),
                (
                    Target(OURS, at_least=BURN_AT_LEAST, of=WORKERS),
                    Target(STOCK_WORKERS, of=WORKERS),
                    Target(TRITON_WORKERS, of=WORKERS),
                    Target(LITSERVE_WORKERS, of=WORKERS),
                    Target(BENTOML_WORKERS, of=WORKERS),
                ),
                absent
                | {
                    KSERVE: "its gRPC server, which has the V2 messages, is one process",
                    BY_HAND_GRPC: "is one process",
                },
            )
        ]
        ours_only = {who: why for who, why in absent.items() if who == WORKERS}
        for wire, window in text_windows(plan).items():
            row = measure_row(
                f"text through 2 workers, {wire}, 1 stream",
                "response",
                SHARED,
                plan.rounds,
                measures({OURS: window, WORKERS: window}),
                (
                    Target(OURS, at_least=TEXT_AT_LEAST, of=WORKERS),
                    Target(OURS, figure=SERVER_TIME, of=WORKERS),
                    Target(OURS, figure=FIRST_P99, of=WORKERS),
                ),
                ours_only,
            )
            rows.append(with_first(row))
        return rows


def burn_windows(plan: Plan) -> dict[str, tuple[Any, ...]]:
    """What drives each contender of the CPU-bound row."""
    request = [text_call("burn", ASKED)]
    right, triton_right = partial(says, plain), partial(says, unwrapped)
    body = json.dumps({"prompt": ASKED}).encode()
    litserve_call, bentoml_call = (
        [post(path, body, "application/json")] for path in ("/predict", "/burn")
    )
    window = (1, plan.seconds, STREAMS)
    return {
        OURS: (grpc_messages, request, right, *window),
        WORKERS: (grpc_messages, request, right, *window),
        STOCK_WORKERS: (grpc_unary, request, right, STREAMS, plan.seconds),
        TRITON_WORKERS: (grpc_messages, request, triton_right, *window),
        LITSERVE_WORKERS: (http_calls, litserve_call, holds, STREAMS, plan.seconds),
        BENTOML_WORKERS: (http_calls, bentoml_call, holds, STREAMS, plan.seconds),
    }


def text_windows(plan: Plan) -> dict[str, tuple[Any, ...]]:
    """Text on both wires."""
    return {
        "SSE": (sse_streams, sse_call("text-model", prompt()), 1, plan.seconds, False),
        "gRPC": (grpc_streams, "text-model", prompt(), plain, 1, plan.seconds, False),
    }


def with_first(row: Row) -> Row:
    """The row with how much later the first response comes through a worker, in milliseconds."""
    if WORKERS not in row.samples:
        return row
    later = [
        mine.figures()[FIRST_P50] - theirs.figures()[FIRST_P50]
        for mine, theirs in pairs(row.samples[WORKERS], row.samples[OURS])
    ]
    found = judged(WORKERS, OURS, "first_later_ms", Spread.of(later), at_most=FIRST_LATER_MS)
    return Row(row.title, row.unit, row.cores, row.samples, (*row.ratios, found), row.absent)


def says(unwrap: Callable[[bytes], bytes], index: int, message: bytes) -> bool:
    """Whether a V2 response holds the prompt."""
    return word(unwrap(message)) == ASKED.encode()


def holds(index: int, body: bytes) -> bool:
    """Whether a JSON or plain answer does."""
    return ASKED.encode() in body
