"""Text streams: 200 words without a delay, over SSE and over gRPC; and who waits for whom."""

from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from functools import partial

from .contenders import OURS, STOCK, ours, stock
from .grpc_load import grpc_streams
from .load_process import LoadProcess
from .rows import PINNED, Plan, Row
from .samples import Sample, alternate, ratio
from .sse_load import sse_streams

WORDS = 200
# Words as long as English ones are.
PROMPT = " ".join(("What", "is", "the", "capital", "of", "France")[n % 6] for n in range(WORDS))
MANY = 32
WIRES: dict[str, Callable[..., Awaitable[Sample]]] = {"SSE": sse_streams, "gRPC": grpc_streams}
# The model of MLServer's example, unmodified, under this project: what serving alone gains.
STOCK_FAST = f"{STOCK} + httptools"
STOCK_MODEL = "ours, stock's model"
SERVER_TIME = "server_cpu_us_per_response"
RATE_TARGET = 1.3
FAIR_TARGET = 0.1


def text(plan: Plan) -> list[Row]:
    """Responses a second, one client and 32."""
    return [
        Row(
            f"text, {wire}, {clients} client{'s' if clients > 1 else ''}",
            "response",
            PINNED,
            samples,
            (
                ratio(samples, OURS, STOCK, at_least=RATE_TARGET if clients == 1 else None),
                ratio(samples, OURS, STOCK, SERVER_TIME),
                ratio(samples, STOCK_MODEL, STOCK),
                *([ratio(samples, OURS, STOCK_FAST)] if STOCK_FAST in samples else []),
            ),
        )
        for (wire, clients), samples in _measure(plan, (1, MANY), at_once=False).items()
    ]


def fairness(plan: Plan) -> list[Row]:
    """The time to the first response when 32 streams begin at the same moment."""
    return [
        Row(
            f"fairness, {wire}, {clients} streams at once",
            "response",
            PINNED,
            samples,
            (
                ratio(samples, OURS, STOCK, "first_response_p99_ms", at_most=FAIR_TARGET),
                ratio(samples, OURS, STOCK, "first_response_p50_ms"),
            ),
        )
        for (wire, clients), samples in _measure(plan, (MANY,), at_once=True).items()
    ]


def _measure(
    plan: Plan, clients: tuple[int, ...], at_once: bool
) -> dict[tuple[str, int], dict[str, list[Sample]]]:
    folder = plan.folder / ("fairness" if at_once else "text")
    cores = plan.server_cores
    with (
        ours(folder / "ours", cores, "stock-text") as our_server,
        stock(folder / "stock", cores, "stock-text") as stock_server,
        LoadProcess(plan.client_cores) as load,
        ExitStack() as more,
    ):
        served = {
            OURS: (our_server, "text-model"),
            STOCK: (stock_server, "stock-text"),
            STOCK_MODEL: (our_server, "stock-text"),
        }
        if not at_once:
            fast = stock(folder / "fast", cores, "stock-text", httptools=True)
            served[STOCK_FAST] = (more.enter_context(fast), "stock-text")
        return {
            (wire, count): alternate(
                plan.rounds,
                {
                    who: partial(
                        load.measure, server, streams, model, PROMPT, count, plan.seconds, at_once
                    )
                    for who, (server, model) in served.items()
                    if who != STOCK_FAST or wire == "SSE"
                },
            )
            for wire, streams in WIRES.items()
            for count in clients
        }
