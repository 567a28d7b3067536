"""Text streams: 200 words without a delay, over SSE and over gRPC; and who waits for whom."""

from ..contenders import contenders as named
from ..contenders.contenders import BY_HAND_GRPC, KSERVE, OURS, STOCK, TRITON
from ..contenders.peer_servers import starts
from ..inputs.text_prompt import prompt
from ..loads.calls import Asked
from ..loads.first_responses import first_responses
from ..loads.plain_load import h2load, wrk
from ..loads.samples import Target
from .asked import HTTP_ONLY, STREAMING, events, messages
from .measured import (
    FIRST_P99,
    MANY,
    SERVER_TIME,
    Call,
    Case,
    Plan,
    Row,
    clients,
    measured,
    of_both,
)

OTHERS = (named.BARE_SSE_TURNS, named.BY_HAND_SSE, named.LITSERVE, named.BENTOML)
SSE = (OURS, STOCK, TRITON, *OTHERS, named.BARE_SSE)
CANNOT = {
    "SSE": {KSERVE: "has no V2 stream; its OpenAI streams need vllm"},
    "gRPC": {KSERVE: "its gRPC has no stream", **HTTP_ONLY},
}
TARGETS = {
    "SSE": (
        Target(STOCK, at_least=3),
        Target(TRITON, at_least=4),
        Target(named.BARE_SSE, at_least=0.55),
        *map(Target, OTHERS),
        Target(STOCK, figure=SERVER_TIME),
    ),
    "gRPC": of_both(
        Target(STOCK, at_least=1.5),
        Target(TRITON, at_least=1.4),
        Target(BY_HAND_GRPC, at_least=1.0),
        *(Target(who, figure=SERVER_TIME) for who in (STOCK, TRITON, BY_HAND_GRPC)),
    ),
}
# First responses are compared among those that serve models.
FIRST = {
    "SSE": (
        Target(STOCK, at_most=0.07, figure=FIRST_P99),
        Target(TRITON, at_most=0.1, figure=FIRST_P99),
    ),
    "gRPC": of_both(
        Target(STOCK, at_most=0.15, figure=FIRST_P99),
        Target(TRITON, at_most=0.1, figure=FIRST_P99),
    ),
}


def text(plan: Plan) -> list[Row]:
    """Responses a second with one client and 32; the first response when 32 begin at once."""
    wires: dict[str, dict[str, Asked]] = {
        "SSE": {who: events(who, "text", prompt()) for who in SSE},
        "gRPC": {who: messages(who, "text", prompt()) for who in STREAMING},
    }
    found = []
    for wire, calls in wires.items():
        rate = wrk if wire == "SSE" else h2load
        for count in (1, MANY):
            asked: dict[str, Call] = {who: (rate, call, count) for who, call in calls.items()}
            title = f"text, {wire}, {clients(count)}"
            found.append(Case(title, "response", asked, TARGETS[wire], cannot=CANNOT[wire]))
        asked = {who: (first_responses, call, MANY) for who, call in calls.items()}
        title = f"fairness, {wire}, {MANY} streams at once"
        found.append(Case(title, "response", asked, FIRST[wire], cannot=CANNOT[wire]))
    dialect: dict[str, Call] = {
        who: (h2load, messages(who, "text", prompt(), triton=True), MANY) for who in (OURS, TRITON)
    }
    title = f"text, Triton's dialect, gRPC, {clients(MANY)}"
    found.append(Case(title, "response", dialect, [Target(TRITON, at_least=2)]))
    return measured(plan, starts("text", *{*SSE, *STREAMING}), found)
