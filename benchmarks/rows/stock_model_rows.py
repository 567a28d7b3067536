"""A stock model, unchanged: what whoever moves a service of MLServer's here gains by that alone.

The same model, built with MLServer's codecs, the same environment and the same settings (metrics
on, gzip off, in-process) on both sides; a window of ours right after each of stock's.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from mlserver.grpc import dataplane_pb2 as pb

from ..contenders.contenders import OURS, STOCK, stock, with_seam
from ..contenders.started import Start, started
from ..inputs.text_prompt import WORDS, prompt
from ..loads.load_process import LoadProcess
from ..loads.plain_load import H2LOAD, WRK, h2load, missing, wrk
from ..loads.samples import Sample
from .measured import PER_CPU, Target, measure_row
from .rows import PINNED, Plan, Row

MODEL, WORD = "stock-text", "word"
SETTINGS = {"metrics_endpoint": "/metrics"}
STARTS: dict[str, Start] = {
    STOCK: lambda folder, cores: stock(folder, cores, MODEL, httptools=True, **SETTINGS),
    OURS: lambda folder, cores: with_seam(folder, cores, MODEL, **SETTINGS),
}
# The clients are cheap and their windows short: more of them, for machines that others use too.
PAIRS_A_ROUND = 2
MANY = 32
UNARY, STREAM = f"/v2/models/{MODEL}/infer", f"/v2/models/{MODEL}/infer_stream"


@dataclass(frozen=True)
class Call:
    """A row: what is asked, by which program, and the load's arguments past target and seconds."""

    what: str
    program: str
    at_least: float
    arguments: tuple[Any, ...]

    @property
    def title(self) -> str:
        return f"a stock model, unchanged, {self.what}"

    @property
    def load(self) -> Callable[..., Any]:
        return wrk if self.program == WRK else h2load


def body(text: str) -> bytes:
    """A V2 request in JSON."""
    tensor = {"name": "prompt", "datatype": "BYTES", "shape": [1], "data": [text]}
    return json.dumps({"inputs": [tensor]}).encode()


def message(text: str) -> bytes:
    """The same, serialised."""
    contents = pb.InferTensorContents(bytes_contents=[text.encode()])
    tensor = pb.ModelInferRequest.InferInputTensor(
        name="prompt", datatype="BYTES", shape=[1], contents=contents
    )
    return pb.ModelInferRequest(model_name=MODEL, inputs=[tensor]).SerializeToString()


def is_right_answer(text: str, found: bytes) -> bool:
    """Whether a V2 response holds the text again."""
    same: bool = json.loads(found)["outputs"][0]["data"] == [text]
    return same


def is_right_stream(text: str, found: bytes) -> bool:
    """Whether a body's events hold the text again, a word each."""
    *events, rest = found.decode().split("\n\n")
    words = [json.loads(each.removeprefix("data: "))["outputs"][0]["data"] for each in events]
    return not rest and words == [
        [f" {word}" if index else word] for index, word in enumerate(text.split(" "))
    ]


def is_right_message(text: str, found: bytes) -> bool:
    """Whether a V2 gRPC response holds the text again."""
    response = pb.ModelInferResponse.FromString(found)
    return [*response.outputs[0].contents.bytes_contents] == [text.encode()]


ONE, EVENT = partial(is_right_answer, WORD), partial(is_right_stream, WORD)
EVENTS, REPLY = partial(is_right_stream, prompt()), partial(is_right_message, WORD)
CALLS = (
    Call("REST infer, 1 connection", WRK, 1.5, (UNARY, body(WORD), ONE, 1)),
    Call(f"REST infer, {MANY} connections", WRK, 1.5, (UNARY, body(WORD), ONE, MANY)),
    Call(f"SSE, 1 word, {MANY} connections", WRK, 1.5, (STREAM, body(WORD), EVENT, MANY)),
    Call(
        f"SSE, {WORDS} words, {MANY} connections",
        WRK,
        1.7,
        (STREAM, body(prompt()), EVENTS, MANY, WORDS),
    ),
    Call(f"gRPC infer, {MANY} at once", H2LOAD, 1.4, ("ModelInfer", message(WORD), REPLY, MANY)),
)


def stock_model(plan: Plan) -> list[Row]:
    """Responses a second, and for each second of the server's CPU."""
    gone = {program: missing(program) for program in (WRK, H2LOAD)}
    if all(gone.values()):
        return [_not_measured(call, gone[call.program]) for call in CALLS]
    with (
        started(STARTS, plan.folder / "stock-model", plan.server_cores, OURS) as (servers, absent),
        LoadProcess(plan.client_cores) as load,
    ):

        def row(call: Call) -> Row:
            if gone[call.program]:
                return _not_measured(call, gone[call.program])
            windows: dict[str, Callable[[], Sample]] = {
                who: partial(load.measure, servers[who], call.load, plan.seconds, *call.arguments)
                for who in STARTS
                if who in servers
            }
            for warm in windows.values():
                warm()
            targets = (Target(STOCK, call.at_least), Target(STOCK, figure=PER_CPU))
            where = f"{PINNED} ({call.program})"
            rounds = PAIRS_A_ROUND * plan.rounds
            return measure_row(call.title, "response", where, rounds, windows, targets, absent)

        return [row(call) for call in CALLS]


def _not_measured(call: Call, why: str) -> Row:
    return Row(call.title, "response", PINNED, {}, (), {f"{OURS}, {STOCK}": why})
