"""Text streams: 200 words without a delay, over SSE and over gRPC; and who waits for whom."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from ..contenders.contenders import OURS, STOCK, ours, stock
from ..contenders.peer_servers import (
    BARE_SSE,
    BARE_SSE_TURNS,
    BENTOML,
    BY_HAND_GRPC,
    BY_HAND_SSE,
    KSERVE,
    LITSERVE,
    TRITON,
    bare_sse,
    bentoml,
    by_hand_grpc,
    by_hand_sse,
    litserve,
    triton,
)
from ..contenders.process import Contender
from ..contenders.started import Start, started
from ..inputs.text_prompt import prompt
from ..loads.grpc_load import grpc_streams
from ..loads.load_process import LoadProcess
from ..loads.samples import Sample
from ..loads.sse_load import flat_call, sse_streams, text_call
from ..loads.triton_dialect import plain, unwrapped
from .measured import FIRST_P50, FIRST_P99, SERVER_TIME, Target, measure_row
from .rows import PINNED, Plan, Row

PROMPT = prompt()
MANY = 32
STARTS: dict[str, Start] = {
    OURS: ours,
    STOCK: lambda folder, cores: stock(folder, cores, "stock-text"),
    TRITON: lambda folder, cores: triton(folder, cores, "text"),
    LITSERVE: lambda folder, cores: litserve(folder, cores, "text"),
    BENTOML: bentoml,
    BY_HAND_SSE: by_hand_sse,
    BY_HAND_GRPC: by_hand_grpc,
    BARE_SSE: lambda folder, cores: bare_sse(folder, cores, turns=False),
    BARE_SSE_TURNS: lambda folder, cores: bare_sse(folder, cores, turns=True),
}
# Who is asked how: the server, and the stream.
SSE_CALLS = {
    OURS: (OURS, text_call("text-model", PROMPT)),
    STOCK: (STOCK, text_call("stock-text", PROMPT)),
    TRITON: (TRITON, flat_call("/v2/models/text/generate_stream", PROMPT)),
    LITSERVE: (LITSERVE, flat_call("/predict", PROMPT)),
    BENTOML: (BENTOML, flat_call("/text", PROMPT)),
    BY_HAND_SSE: (BY_HAND_SSE, text_call("text-model", PROMPT)),
    BARE_SSE: (BARE_SSE, text_call("text", PROMPT)),
    BARE_SSE_TURNS: (BARE_SSE_TURNS, text_call("text", PROMPT)),
}
GRPC_CALLS = {
    OURS: (OURS, "text-model", plain),
    STOCK: (STOCK, "stock-text", plain),
    TRITON: (TRITON, "text", unwrapped),
    BY_HAND_GRPC: (BY_HAND_GRPC, "text-model", plain),
}
CANNOT = {
    "SSE": {KSERVE: "has no V2 stream; its OpenAI streams need vllm"},
    "gRPC": {
        KSERVE: "its gRPC has no stream",
        LITSERVE: "speaks HTTP only",
        BENTOML: "speaks HTTP only (its gRPC went with version 1.4)",
    },
}
TARGETS = {
    "SSE": (
        Target(STOCK, at_least=3),
        Target(TRITON, at_least=4),
        Target(BARE_SSE, at_least=0.35),
        Target(BARE_SSE_TURNS, at_least=0.35),
        Target(BY_HAND_SSE),
        Target(LITSERVE),
        Target(BENTOML),
        Target(STOCK, figure=SERVER_TIME),
    ),
    "gRPC": (
        Target(STOCK, at_least=1.5),
        Target(TRITON, at_least=1.4),
        Target(BY_HAND_GRPC, at_least=0.95),
        Target(STOCK, figure=SERVER_TIME),
        Target(TRITON, figure=SERVER_TIME),
        Target(BY_HAND_GRPC, figure=SERVER_TIME),
    ),
}
# First responses are compared among those that serve models.
FIRST_TARGETS = (
    Target(STOCK, at_most=0.1, figure=FIRST_P99),
    Target(TRITON, at_most=0.1, figure=FIRST_P99),
    Target(STOCK, figure=FIRST_P50),
)
Measure = Callable[[], Sample]


def text(plan: Plan) -> list[Row]:
    """Responses a second with one client and 32; the first response when 32 begin at once."""
    return _rows(plan, (1, MANY))


def fairness(plan: Plan) -> list[Row]:
    """Only the time to the first response when 32 streams begin at the same moment, ours beside
    stock's."""
    return _rows(plan, (), who=(OURS, STOCK))


def _rows(plan: Plan, clients: tuple[int, ...], who: tuple[str, ...] = ()) -> list[Row]:
    rows = []
    with _served(plan, who) as (servers, absent, load):
        for wire in TARGETS:
            gone = {name: why for name, why in absent.items() if name in _calls(wire)}
            if not who:
                gone |= CANNOT[wire]
            rows += [
                measure_row(
                    f"text, {wire}, {count} client{'s' if count > 1 else ''}",
                    "response",
                    PINNED,
                    plan.rounds,
                    _measures(plan, wire, servers, load, count, False),
                    TARGETS[wire],
                    gone,
                )
                for count in clients
            ]
            rows.append(
                measure_row(
                    f"fairness, {wire}, {MANY} streams at once",
                    "response",
                    PINNED,
                    plan.rounds,
                    _measures(plan, wire, servers, load, MANY, True),
                    FIRST_TARGETS,
                    gone,
                )
            )
    return rows


@contextmanager
def _served(
    plan: Plan, who: tuple[str, ...]
) -> Iterator[tuple[dict[str, Contender], dict[str, str], LoadProcess]]:
    starts = {name: start for name, start in STARTS.items() if not who or name in who}
    with (
        started(starts, plan.folder / "text", plan.server_cores, OURS) as (servers, absent),
        LoadProcess(plan.client_cores) as load,
    ):
        yield servers, absent, load


def _calls(wire: str) -> set[str]:
    return set(SSE_CALLS if wire == "SSE" else GRPC_CALLS)


def _measures(
    plan: Plan,
    wire: str,
    servers: dict[str, Contender],
    load: LoadProcess,
    clients: int,
    at_once: bool,
) -> dict[str, Measure]:
    window = (clients, plan.seconds, at_once)
    if wire == "SSE":
        return {
            who: partial(load.measure, servers[server], sse_streams, call, *window)
            for who, (server, call) in SSE_CALLS.items()
            if server in servers
        }
    return {
        who: partial(load.measure, servers[server], grpc_streams, model, PROMPT, unwrap, *window)
        for who, (server, model, unwrap) in GRPC_CALLS.items()
        if server in servers
    }
