"""A stock model, unchanged: what whoever moves a service of MLServer's here gains by that alone.

The same model, built with MLServer's codecs, the same environment and the same settings (metrics
on, gzip off, in-process) on both sides. Unary calls of the peers, whose models do the same, beside.
"""

from functools import partial

from ..contenders.contenders import (
    BENTOML,
    BY_HAND_GRPC,
    KSERVE,
    LITSERVE,
    OURS,
    SEAM,
    STOCK,
    TRITON,
    stock,
)
from ..contenders.peer_servers import Start, starts
from ..inputs.text_prompt import (
    WORDS,
    are_events,
    flat_body,
    holds,
    is_answer,
    is_message,
    message,
    prompt,
    v2_body,
)
from ..inputs.triton_dialect import plain
from ..loads.plain_load import GrpcCall, HttpCall, h2load, wrk
from ..loads.samples import Target
from .measured import MANY, PER_CPU, Call, Case, Plan, Row, measured

MODEL, WORD = "stock-text", "word"
METRICS = {"metrics_endpoint": "/metrics"}
BOTH = (OURS, STOCK)
PEERS = (TRITON, KSERVE, LITSERVE, BENTOML)


def stock_model(plan: Plan) -> list[Row]:
    """Responses a second, and for each second of the server's CPU."""
    servers: dict[str, Start] = {
        OURS: lambda folder, cores: stock(folder, cores, MODEL, httptools=True, **METRICS, **SEAM),
        STOCK: lambda folder, cores: stock(folder, cores, MODEL, httptools=True, **METRICS),
        **starts("echo", *PEERS, BY_HAND_GRPC),
    }
    return measured(plan, servers, cases())


def cases() -> list[Case]:
    """The rows."""
    path = f"/v2/models/{MODEL}/"

    def streams(text: str) -> dict[str, Call]:
        right = partial(are_events, text)
        call = HttpCall(f"{path}infer_stream", v2_body(text), right, len(text.split(" ")))
        return {who: (wrk, call, MANY) for who in BOTH}

    def unary(connections: int) -> dict[str, Call]:
        body, right = v2_body(WORD), partial(is_answer, WORD)
        calls = {who: HttpCall(f"{path}infer", body, right) for who in BOTH}
        calls |= {who: HttpCall("/v2/models/echo/infer", body, right) for who in (TRITON, KSERVE)}
        flat, held = flat_body(WORD), partial(holds, WORD)
        calls |= {
            LITSERVE: HttpCall("/predict", flat, held),
            BENTOML: HttpCall("/echo", flat, held),
        }
        return {who: (wrk, call, connections) for who, call in calls.items()}

    def grpc_unary() -> dict[str, Call]:
        right = partial(is_message, plain, WORD)
        models = dict.fromkeys(BOTH, MODEL) | dict.fromkeys((TRITON, KSERVE, BY_HAND_GRPC), "echo")
        return {
            who: (h2load, GrpcCall("ModelInfer", message(model, WORD), right), MANY)
            for who, model in models.items()
        }

    http_only = dict.fromkeys((LITSERVE, BENTOML), "speaks HTTP only")
    return [
        _case("REST infer, 1 connection", 1.5, unary(1)),
        _case(f"REST infer, {MANY} connections", 1.5, unary(MANY)),
        _case(f"SSE, 1 word, {MANY} connections", 1.5, streams(WORD)),
        _case(f"SSE, {WORDS} words, {MANY} connections", 1.7, streams(prompt())),
        _case(f"gRPC infer, {MANY} at once", 1.4, grpc_unary(), http_only),
    ]


def _case(
    what: str, at_least: float, calls: dict[str, Call], cannot: dict[str, str] | None = None
) -> Case:
    others = [Target(who) for who in calls if who not in BOTH]
    targets = (Target(STOCK, at_least), Target(STOCK, figure=PER_CPU), *others)
    note = f" ({next(iter(calls.values()))[0].__name__})"
    title = f"a stock model, unchanged, {what}"
    return Case(title, "response", calls, targets, cannot=cannot or {}, note=note)
