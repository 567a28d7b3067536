"""Real time: how many cameras, how many streams of tokens, before p99 lateness passes 100 ms.

Server and client share two cores, as they would on one small machine; the client is the same for
all.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from ..contenders.contenders import (
    BENTOML,
    BY_HAND_GRPC,
    BY_HAND_SSE,
    KSERVE,
    LITSERVE,
    OURS,
    STOCK,
    TRITON,
)
from ..contenders.peer_servers import Start, model_of, starts
from ..contenders.started import started
from ..inputs.frames import frames
from ..inputs.text_prompt import flat_body, message, v2_body
from ..loads.event_stream import form, post
from ..loads.load_process import LoadProcess
from ..loads.pace import Paced, find_most
from ..loads.paced_links import grpc_requests, paced_window
from ..loads.samples import Sample, Target
from .measured import SHARED, Case, Plan, Row, measure_row

FPS, TOKENS_A_SECOND = 25.0, 30.0
LIMIT_SECONDS = 0.1
FIRST_CAMERAS, FIRST_STREAMS = 8, 64
# A search takes as long as many windows; there is one for so many rounds of the other rows.
WINDOWS = 3
# A run that misses the limit by less is made once more: something else may have had the core.
NEAR = 5.0
# More than the default 256 streams at once is asked of ours here.
MANY_STREAMS = {"limits": {"streams": 8192}}
# How a contender is driven: its wire, and its requests.
Ask = tuple[str, Sequence[bytes]]


def paced(plan: Plan) -> list[Row]:
    """Cameras, and streams of tokens."""
    cameras, sse, grpc = (
        f"paced, cameras at {FPS:g} fps",
        f"paced, token streams at {TOKENS_A_SECOND:g}/s, SSE",
        f"paced, token streams at {TOKENS_A_SECOND:g}/s, gRPC",
    )
    found = []
    if plan.wants(cameras):
        asked = _cameras()
        found.append(_row(plan, cameras, starts("jpeg", *asked, workers=2), asked, FPS))
    for title, asked in ((sse, _sse(plan)), (grpc, _grpc(plan))):
        if plan.wants(title):
            servers = starts("ticker", *asked, workers=2, streaming=MANY_STREAMS)
            found.append(_row(plan, title, servers, asked, TOKENS_A_SECOND))
    return found


def _cameras() -> dict[str, Ask]:
    asked: dict[str, Ask] = {
        who: (wire, grpc_requests(model_of(who, "jpeg"), "image", frames(), {}))
        for who, wire in (
            (OURS, "grpc"),
            (STOCK, "grpc"),
            (TRITON, "triton"),
            (KSERVE, "unary"),
            (BY_HAND_GRPC, "grpc"),
        )
    }
    raw = "application/octet-stream"
    asked[LITSERVE] = ("http", [post("/predict", *form(frame)) for frame in frames()])
    asked[BENTOML] = ("http", [post("/jpeg", frame, raw) for frame in frames()])
    return asked


def _prompt(plan: Plan) -> str:
    """More tokens than a run has time for: a stream lasts as long as it is watched."""
    return f"{TOKENS_A_SECOND:g} {int(TOKENS_A_SECOND * (plan.paced_seconds + 5))}"


def _sse(plan: Plan) -> dict[str, Ask]:
    v2, flat = v2_body(_prompt(plan)), flat_body(_prompt(plan))
    path = "/v2/models/ticker/generate_stream"
    asked = {who: post(path, v2) for who in (OURS, STOCK, BY_HAND_SSE)}
    paths = {TRITON: path, LITSERVE: "/predict", BENTOML: "/ticker"}
    asked |= {who: post(each, flat) for who, each in paths.items()}
    return {who: ("sse tokens", [request]) for who, request in asked.items()}


def _grpc(plan: Plan) -> dict[str, Ask]:
    request = [message("ticker", _prompt(plan))]
    asked = dict.fromkeys((OURS, STOCK, BY_HAND_GRPC), ("grpc tokens", request))
    return {**asked, TRITON: ("triton tokens", request)}


def _row(
    plan: Plan,
    title: str,
    servers: Mapping[str, Start],
    asked: Mapping[str, Ask],
    rate: float,
) -> Row:
    """All contenders run; idle ones cost next to nothing."""
    wanted = {who: start for who, start in servers.items() if who == OURS or plan.shows(who)}
    folder = plan.folder / "".join(c if c.isalnum() else "-" for c in title)
    runs: dict[str, list[Paced]] = {who: [] for who in wanted}
    with (
        started(wanted, folder, plan.all_cores, OURS) as (running, absent),
        LoadProcess(plan.all_cores) as load,
    ):

        def finder(who: str) -> Callable[[], Sample]:
            most = FIRST_CAMERAS if rate == FPS else FIRST_STREAMS

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

        targets = [Target(who, at_least=1.0, figure="most") for who in asked if who != OURS]
        finders = {who: finder(who) for who in running}
        case = Case(title, "camera" if rate == FPS else "stream", {}, targets)
        rounds = -(-plan.rounds // WINDOWS)
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
