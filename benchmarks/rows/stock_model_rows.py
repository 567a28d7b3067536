"""A stock model, unchanged: what whoever moves a service of MLServer's here gains by that alone.

The same model, built with MLServer's codecs, the same environment and the same settings (metrics
on, gzip off, in-process) on both sides. Unary calls of the peers, whose models do the same, beside.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ..contenders import contenders as named
from ..contenders.contenders import OURS, OURS_OTHER_GRPC, SEAM, STOCK, stock, with_other_grpc
from ..contenders.peer_servers import Start, starts
from ..contenders.process import Contender
from ..inputs.text_prompt import WORDS, prompt
from ..loads.plain_load import h2load, wrk
from ..loads.samples import Target
from .asked import HTTP_ONLY, events, unary, unary_message
from .measured import MANY, PER_CPU, Call, Case, Plan, Row, measured, of_both

MODEL, WORD = "stock-text", "word"
BOTH = (OURS, STOCK)
PEERS = (named.TRITON, named.KSERVE, *HTTP_ONLY)


def both(model: str, **ours: Any) -> dict[str, Start]:
    """One model, served by ours and by stock; `ours` are settings that only ours has."""

    def start(folder: Path, cores: set[int], **more: Any) -> Contender:
        return stock(folder, cores, model, httptools=True, metrics_endpoint="/metrics", **more)

    seam: dict[str, Any] = {**SEAM, **ours}
    other = partial(start, **with_other_grpc(seam))
    return {OURS: partial(start, **seam), OURS_OTHER_GRPC: other, STOCK: start}


def stock_model(plan: Plan) -> list[Row]:
    """Responses a second, and for each second of the server's CPU."""
    peers = starts("echo", *PEERS, named.BY_HAND_GRPC)
    return measured(plan, {**both(MODEL), **peers}, cases())


def cases() -> list[Case]:
    """The rows."""

    def streams(text: str) -> dict[str, Call]:
        # Of both the same route, MLServer's own.
        return {who: (wrk, events(STOCK, "text", text, "infer_stream"), MANY) for who in BOTH}

    def infer(connections: int) -> dict[str, Call]:
        models = dict.fromkeys(BOTH, MODEL) | dict.fromkeys(PEERS, "echo")
        return {who: (wrk, unary(who, each, WORD), connections) for who, each in models.items()}

    def targets(at_least: float) -> tuple[Target, ...]:
        return (Target(STOCK, at_least), Target(STOCK, figure=PER_CPU))

    echo = (named.TRITON, named.KSERVE, named.BY_HAND_GRPC)
    models = dict.fromkeys((*BOTH, OURS_OTHER_GRPC), MODEL) | dict.fromkeys(echo, "echo")
    over_grpc = {who: (h2load, unary_message(each, WORD), MANY) for who, each in models.items()}
    return [
        _case("REST infer, 1 connection", targets(1.5), infer(1)),
        _case(f"REST infer, {MANY} connections", targets(1.5), infer(MANY)),
        _case(f"SSE, 1 word, {MANY} connections", targets(1.5), streams(WORD)),
        _case(f"SSE, {WORDS} words, {MANY} connections", targets(1.7), streams(prompt())),
        _case(f"gRPC infer, {MANY} at once", of_both(*targets(1.4)), over_grpc, HTTP_ONLY),
    ]


def _case(
    what: str,
    targets: Sequence[Target],
    calls: Mapping[str, Call],
    cannot: Mapping[str, str] | None = None,
) -> Case:
    others = [Target(who) for who in calls if who not in (*BOTH, OURS_OTHER_GRPC)]
    note, title = f" ({calls[OURS][0].__name__})", f"a stock model, unchanged, {what}"
    return Case(title, "response", calls, [*targets, *others], cannot=cannot or {}, note=note)
