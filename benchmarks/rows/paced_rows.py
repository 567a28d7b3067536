"""Real time: how many cameras, how many streams of tokens, before p99 lateness passes 100 ms.

Server and client share two cores, as they would on one small machine; the client is the same for
all.
"""

from collections.abc import Callable, Mapping, Sequence

from ..contenders.contenders import OURS, STOCK, ours, stock
from ..contenders.peer_servers import (
    BENTOML,
    BY_HAND_GRPC,
    BY_HAND_SSE,
    KSERVE,
    LITSERVE,
    TRITON,
    bentoml,
    by_hand_sse,
    litserve,
    triton,
)
from ..contenders.process import Contender, ContenderError
from ..contenders.started import Start, reason, started
from ..inputs.frames import frames
from ..loads.http_load import post, post_file
from ..loads.load_process import LoadProcess
from ..loads.pace import Paced, find_most
from ..loads.paced_requests import grpc_requests
from ..loads.paced_window import paced_window
from ..loads.samples import Ratio, Spread
from ..loads.sse_load import flat_call, v2_request
from .jpeg_rows import ON_TWO_CORES
from .rows import SHARED, Found, PacedRow, Plan

FPS, TOKENS_A_SECOND = 25.0, 30.0
LIMIT_SECONDS = 0.1
FIRST_CAMERAS, FIRST_STREAMS = 8, 64
# A run that misses the limit by less is made once more: something else may have had the core.
NEAR = 5.0
# More than the default 256 streams at once is asked of ours here.
MANY_STREAMS = {"triton_port": 8001, "limits": {"streams": 8192}}
# How a contender is driven: its wire, and its requests.
Call = tuple[str, Sequence[bytes]]


def paced(plan: Plan) -> list[PacedRow]:
    """Cameras, and streams of tokens."""
    return [_cameras(plan), _tokens(plan)]


def _cameras(plan: Plan) -> PacedRow:
    def requests(model: str) -> list[bytes]:
        return grpc_requests(model, "image", frames(), {})

    calls: dict[str, Call] = {
        OURS: ("grpc", requests("jpeg-model")),
        STOCK: ("grpc", requests("stock-jpeg")),
        TRITON: ("triton", requests("jpeg")),
        KSERVE: ("unary", requests("jpeg")),
        LITSERVE: ("http", [post_file("/predict", frame) for frame in frames()]),
        BENTOML: ("http", [post("/jpeg", frame) for frame in frames()]),
        BY_HAND_GRPC: ("grpc", requests("jpeg")),
    }
    title = f"paced, cameras at {FPS:g} fps"
    return _row(plan, title, "camera", ON_TWO_CORES, calls, FIRST_CAMERAS, FPS)


def _tokens(plan: Plan) -> PacedRow:
    starts: dict[str, Start] = {
        OURS: lambda folder, cores: ours(folder, cores, "ticker", streaming=MANY_STREAMS),
        STOCK: lambda folder, cores: stock(folder, cores, "ticker"),
        TRITON: lambda folder, cores: triton(folder, cores, "ticker"),
        LITSERVE: lambda folder, cores: litserve(folder, cores, "ticker", workers=2),
        BENTOML: lambda folder, cores: bentoml(folder, cores, workers=2),
        BY_HAND_SSE: by_hand_sse,
    }
    # More tokens than a run has time for: a stream lasts as long as it is watched.
    prompt = f"{TOKENS_A_SECOND:g} {int(TOKENS_A_SECOND * (plan.paced_seconds + 5))}"
    v2 = [v2_request("ticker", prompt)]
    calls: dict[str, Call] = {
        OURS: ("sse", v2),
        STOCK: ("sse", v2),
        TRITON: ("sse", [flat_call("/v2/models/ticker/generate_stream", prompt).request]),
        LITSERVE: ("sse", [flat_call("/predict", prompt).request]),
        BENTOML: ("sse", [flat_call("/ticker", prompt).request]),
        BY_HAND_SSE: ("sse", v2),
    }
    title = f"paced, token streams at {TOKENS_A_SECOND:g}/s, SSE"
    return _row(
        plan,
        title,
        "stream",
        starts,
        calls,
        FIRST_STREAMS,
        TOKENS_A_SECOND,
        {KSERVE: "has no V2 stream; its OpenAI streams need vllm"},
    )


def _row(
    plan: Plan,
    title: str,
    unit: str,
    starts: Mapping[str, Start],
    calls: Mapping[str, Call],
    first: int,
    rate: float,
    cannot: Mapping[str, str] | None = None,
) -> PacedRow:
    found: dict[str, Found] = {}
    absent = dict(cannot or {})
    folder = plan.folder / "".join(c if c.isalnum() else "-" for c in title)
    with LoadProcess(plan.all_cores) as load:
        for who, start in starts.items():
            # One at a time: contenders have both cores to themselves.
            with started({who: start}, folder, plan.all_cores, OURS) as (servers, gone):
                absent |= gone
                if who not in servers:
                    continue
                run = runs_of(plan, load, servers[who], calls[who], rate)
                try:
                    found[who] = find(run, first, plan.most_streams)
                except ContenderError as error:
                    if who == OURS:
                        raise
                    absent[who] = reason(error)
    return PacedRow(title, unit, SHARED, LIMIT_SECONDS, found, compared(found), absent)


def runs_of(
    plan: Plan, load: LoadProcess, server: Contender, call: Call, rate: float
) -> Callable[[int], Paced]:
    """Makes a run of as many streams as it is given."""

    def run(streams: int) -> Paced:
        return load.measure(server, paced_window, *call, streams, rate, plan.paced_seconds)

    return run


def find(run: Callable[[int], Paced], first: int, most: int) -> Found:
    """How many streams fit; a run that misses closely is made twice."""
    runs: list[Paced] = []

    def fits(streams: int) -> bool:
        runs.append(run(streams))
        if not runs[-1].fits(LIMIT_SECONDS) and runs[-1].late_p99 < NEAR * LIMIT_SECONDS:
            runs.append(run(streams))
        return runs[-1].fits(LIMIT_SECONDS)

    return Found(find_most(fits, first, most), tuple(runs))


def compared(found: Mapping[str, Found]) -> tuple[Ratio, ...]:
    """Ours over each other; it should be more than every one of them."""
    ratios = []
    for name, theirs in found.items():
        if name != OURS and OURS in found:
            value = found[OURS].most / max(theirs.most, 1)
            missed = None if value > 1 else 1 - value
            ratios.append(Ratio(OURS, name, "most", Spread.of([value]), "> 1", value > 1, missed))
    return tuple(ratios)
