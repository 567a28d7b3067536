"""Text streams: 200 words without a delay, over SSE and over gRPC; and who waits for whom."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from ..contenders.contenders import (
    BARE_SSE,
    BARE_SSE_TURNS,
    BENTOML,
    BY_HAND_GRPC,
    BY_HAND_SSE,
    KSERVE,
    LITSERVE,
    OURS,
    STOCK,
    TRITON,
)
from ..contenders.peer_servers import model_of, starts
from ..inputs.text_prompt import (
    WORDS,
    are_events,
    are_messages,
    flat_body,
    message,
    prompt,
    v2_body,
)
from ..inputs.triton_dialect import plain, unwrapped
from ..loads.first_load import grpc_first, sse_first
from ..loads.plain_load import GrpcCall, HttpCall, h2load, wrk
from ..loads.samples import Target
from .measured import FIRST_P99, MANY, SERVER_TIME, Call, Case, Plan, Row, measured

SSE_PATHS = {
    TRITON: "/v2/models/text/generate_stream",
    LITSERVE: "/predict",
    BENTOML: "/text",
}
V2_SSE = (OURS, STOCK, BY_HAND_SSE, BARE_SSE, BARE_SSE_TURNS)
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
        Target(BARE_SSE, at_least=0.55),
        Target(BARE_SSE_TURNS),
        Target(BY_HAND_SSE),
        Target(LITSERVE),
        Target(BENTOML),
        Target(STOCK, figure=SERVER_TIME),
    ),
    "gRPC": (
        Target(STOCK, at_least=1.5),
        Target(TRITON, at_least=1.4),
        Target(BY_HAND_GRPC, at_least=1.0),
        Target(STOCK, figure=SERVER_TIME),
        Target(TRITON, figure=SERVER_TIME),
        Target(BY_HAND_GRPC, figure=SERVER_TIME),
    ),
}
# First responses are compared among those that serve models.
FIRST_AT_MOST = {"SSE": 0.07, "gRPC": 0.15}
LOADS = {"SSE": (wrk, sse_first), "gRPC": (h2load, grpc_first)}


def text(plan: Plan) -> list[Row]:
    """Responses a second with one client and 32; the first response when 32 begin at once."""
    servers = starts("text", *V2_SSE, *SSE_PATHS, BY_HAND_GRPC)
    found = []
    asked: dict[str, Call]
    wires: dict[str, Mapping[str, Any]] = {"SSE": sse_calls(), "gRPC": grpc_calls()}
    for wire, calls in wires.items():
        rate, first = LOADS[wire]
        for count in (1, MANY):
            title = f"text, {wire}, {count} client{'s' if count > 1 else ''}"
            asked = {who: (rate, call, count) for who, call in calls.items()}
            found.append(Case(title, "response", asked, TARGETS[wire], cannot=CANNOT[wire]))
        targets = (
            Target(STOCK, at_most=FIRST_AT_MOST[wire], figure=FIRST_P99),
            Target(TRITON, at_most=0.1, figure=FIRST_P99),
        )
        title = f"fairness, {wire}, {MANY} streams at once"
        asked = {who: (first, call, MANY) for who, call in calls.items()}
        found.append(Case(title, "response", asked, targets, cannot=CANNOT[wire]))
    right = partial(are_messages, unwrapped, prompt())
    dialect = {
        who: (h2load, GrpcCall("ModelStreamInfer", message(model, prompt()), right, True), MANY)
        for who, model in ((OURS, "text-model"), (TRITON, "text"))
    }
    title = f"text, Triton's dialect, gRPC, {MANY} clients"
    found.append(Case(title, "response", dialect, [Target(TRITON, at_least=2)]))
    return measured(plan, servers, found)


def sse_calls() -> dict[str, HttpCall]:
    """How each is asked for events."""
    right = partial(are_events, prompt())
    v2, flat = v2_body(prompt()), flat_body(prompt())
    found = {
        who: HttpCall(f"/v2/models/{model_of(who, 'text')}/generate_stream", v2, right, WORDS)
        for who in V2_SSE
    }
    found |= {who: HttpCall(path, flat, right, WORDS) for who, path in SSE_PATHS.items()}
    return found


def grpc_calls() -> dict[str, GrpcCall]:
    """How each is asked for messages."""
    return {
        who: GrpcCall(
            "ModelStreamInfer",
            message(model_of(who, "text"), prompt()),
            partial(are_messages, unwrapped if who == TRITON else plain, prompt()),
        )
        for who in (OURS, STOCK, TRITON, BY_HAND_GRPC)
    }
