"""The WebSocket beside this service's own other wires: text beside SSE, frames beside gRPC."""

import json
from collections.abc import Sequence
from functools import partial

from ..contenders.contenders import OURS, ours
from ..inputs.frames import frames, is_right_frame
from ..inputs.text_prompt import pieces, prompt, v2_body
from ..loads.calls import SocketCall
from ..loads.first_responses import first_responses
from ..loads.in_flight import items
from ..loads.samples import Target
from ..loads.socket_wire import binary_request, parts
from .asked import events, frame_calls
from .measured import FIRST_P50, MANY, SERVER_TIME, Call, Case, Plan, Row, clients, measured

SSE, GRPC = "ours, SSE", "ours, gRPC"


def sockets(plan: Plan) -> list[Row]:
    """Responses a second and first responses; frames a second."""
    request = json.dumps({**json.loads(v2_body(prompt())), "own_stream": True}).encode()
    call = SocketCall("text-model", request, partial(_has, prompt()))
    targets: list[Target] = [
        Target(SSE, at_least=1.0),
        Target(SSE, at_most=1.0, figure=FIRST_P50),
        Target(SSE, figure=SERVER_TIME),
    ]
    found = []
    asked: dict[str, Call]
    for count in (1, MANY):
        sse = events(OURS, "text", prompt())
        asked = {OURS: (first_responses, call, count), SSE: (first_responses, sse, count)}
        found.append(Case(f"sockets, text, {clients(count)}", "response", asked, targets))
    images = [binary_request("image", each, str(at)) for at, each in enumerate(frames())]
    targets = [Target(GRPC, at_least=0.95), Target(GRPC, figure=SERVER_TIME)]
    for mode, in_flight in {"lockstep": 1, "8 in flight": 8}.items():
        # Twice: the stream's first answer has headers too.
        more = (in_flight, 1, True, False, False, 2)
        asked = {
            OURS: (items, "socket jpeg-model", images, _is_frame, *more),
            GRPC: frame_calls(in_flight)[OURS],
        }
        found.append(Case(f"sockets, JPEG 640x480, {mode}", "frame", asked, targets))
    return measured(plan, {OURS: ours, SSE: ours, GRPC: ours}, found)


def _has(text: str, messages: Sequence[bytes]) -> bool:
    """Whether answers have it again, a word each."""
    return [json.loads(each)["outputs"][0]["data"][0] for each in messages] == pieces(text)


def _is_frame(index: int, message: bytes) -> bool:
    """Whether an answer holds frame `index` again."""
    return is_right_frame("drawn", index, parts(message)[1][4:])
