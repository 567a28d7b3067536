"""Real time: how many cameras, how many streams of tokens, before p99 lateness passes 100 ms.

Server and client share two cores, as they would on one small machine; the client is the same for
all.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from ..contenders import contenders as named
from ..contenders.contenders import KSERVE, OURS, OURS_OTHER_GRPC, STOCK, ours
from ..contenders.peer_servers import Start, model_of, starts
from ..contenders.started import folder_of, started
from ..inputs.frames import frame_requests, frames
from ..loads.load_process import LoadProcess
from ..loads.pace import Paced, find_most
from ..loads.paced_load import paced_window
from ..loads.samples import Sample, Target
from ..loads.socket_wire import binary_request
from .asked import HTTP_ONLY, STREAMING, events, messages, upload, way
from .measured import SHARED, Case, Plan, Row, measure_row, of_both
from .stock_model_rows import BOTH, both

FPS, TOKENS_A_SECOND = 25.0, 30.0
LIMIT_SECONDS = 0.1
FIRST_CAMERAS, FIRST_STREAMS = 8, 64
# A search takes as long as many windows; there is one for so many rounds of the other rows.
WINDOWS = 3
# A run that misses the limit by less is made once more: something else may have had the core.
NEAR = 5.0
# More than the default 256 streams at once is asked of ours here.
MANY_STREAMS = {"limits": {"streams": 8192}}
OVER_SOCKETS = f"{OURS}, WebSocket"
# How a contender is driven: its way, and its requests.
Ask = tuple[str, Sequence[bytes]]


def paced(plan: Plan) -> list[Row]:
    """Cameras, and streams of tokens."""
    # More tokens than a run has time for: a stream lasts as long as it is watched.
    prompt = f"{TOKENS_A_SECOND:g} {int(TOKENS_A_SECOND * (plan.paced_seconds + 5))}"
    pace = f"token streams at {TOKENS_A_SECOND:g}/s"

    def tickers(asked: Mapping[str, Ask]) -> dict[str, Start]:
        return starts("ticker", *asked, workers=2, streaming=MANY_STREAMS)

    sse: dict[str, Ask] = {
        who: ("http, tokens", [events(who, "ticker", prompt).request])
        for who in (OURS, STOCK, named.TRITON, *HTTP_ONLY, named.BY_HAND_SSE)
    }
    grpc: dict[str, Ask] = {
        who: (f"{way(who)}, tokens", [messages(who, "ticker", prompt).request]) for who in STREAMING
    }
    cameras = _cameras()
    peers = starts("jpeg", *cameras.keys() - {OVER_SOCKETS}, workers=2) | {OVER_SOCKETS: ours}
    rows: dict[str, tuple[Mapping[str, Start], Mapping[str, Ask]]] = {
        f"paced, cameras at {FPS:g} fps": (peers, cameras),
        f"paced, {pace}, SSE": (tickers(sse), sse),
        f"paced, {pace}, gRPC": (tickers(grpc), grpc),
        f"paced, a stock model, unchanged, {pace}, SSE": (
            both("ticker", streaming=MANY_STREAMS),
            dict.fromkeys(BOTH, sse[STOCK]),  # of both the same model
        ),
    }
    return [_row(plan, title, *how) for title, how in rows.items() if plan.row in title]


def _cameras() -> dict[str, Ask]:
    asked: dict[str, Ask] = {
        who: (way(who), frame_requests(model_of(who, "jpeg")))
        for who in STREAMING
        if who != OURS_OTHER_GRPC
    }
    asked[KSERVE] = ("unary", frame_requests("jpeg"))
    for who in HTTP_ONLY:
        asked[who] = ("http", [upload(who, "jpeg", each, bool).request for each in frames()])
    messages = [binary_request("image", each, str(at)) for at, each in enumerate(frames())]
    return {**asked, OVER_SOCKETS: ("socket jpeg-model", messages)}


def _row(plan: Plan, title: str, servers: Mapping[str, Start], asked: Mapping[str, Ask]) -> Row:
    """All contenders run; idle ones cost next to nothing."""
    wanted = {who: servers[who] for who in asked if who == OURS or plan.shows(who)}
    cameras = "cameras" in title
    first, rate = (FIRST_CAMERAS, FPS) if cameras else (FIRST_STREAMS, TOKENS_A_SECOND)
    runs: dict[str, list[Paced]] = {who: [] for who in wanted}
    with (
        started(wanted, folder_of(plan.folder, title), plan.all_cores, OURS) as (running, absent),
        LoadProcess(plan.all_cores) as load,
    ):

        def finder(who: str) -> Callable[[], Sample]:
            most = first

            def run(streams: int) -> Paced:
                window = (*asked[who], streams, rate, plan.paced_seconds)
                return load.measure(running[who], paced_window, *window)

            def find() -> Sample:
                nonlocal most
                found = find_fit(run, most, plan.most_streams)
                runs[who] += found
                sample = figures(found)
                most = max(1, int(sample.figures["most"]))
                return sample

            return find

        others = [who for who in asked if who not in (OURS, OURS_OTHER_GRPC)]
        targets = of_both(*(Target(who, at_least=1.0, figure="most") for who in others))
        case = Case(title, "camera" if cameras else "stream", {}, targets)
        rounds = -(-plan.rounds // WINDOWS)
        finders = {who: finder(who) for who in wanted if who in running}
        row = measure_row(case, SHARED, rounds, finders, absent)
    tried: dict[str, list[Any]] = {who: [asdict(each) for each in runs[who]] for who in row.samples}
    return replace(row, runs=tried)


def find_fit(run: Callable[[int], Paced], first: int, most: int) -> list[Paced]:
    """Every run that it took to find how many fit; one that misses closely is made twice."""
    runs: list[Paced] = []

    def fits(streams: int) -> bool:
        runs.append(run(streams))
        if not runs[-1].fits(LIMIT_SECONDS) and runs[-1].late_p99 < NEAR * LIMIT_SECONDS:
            runs.append(run(streams))
        return runs[-1].fits(LIMIT_SECONDS)

    find_most(fits, first, most)
    return runs


def figures(runs: Sequence[Paced]) -> Sample:
    """How many fit, and what was seen with so many."""
    fitting = [run for run in runs if run.fits(LIMIT_SECONDS)]
    if not fitting:
        return Sample({"most": 0.0})
    best = max(fitting, key=lambda run: run.streams)
    seen = {
        "most": best.streams,
        "late_p50_ms": 1e3 * best.late_p50,
        "late_p99_ms": 1e3 * best.late_p99,
        "client_late_p99_ms": 1e3 * best.sent_late_p99,
        "client_cpu_percent": 100 * best.client_cpu,
    }
    if best.first_p99 is not None:
        seen["first_response_p99_ms"] = 1e3 * best.first_p99
    return Sample(seen)
