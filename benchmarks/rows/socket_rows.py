"""The WebSocket beside this service's own other wires: text beside SSE, frames beside gRPC.

The client is the library `websockets`, whose Python is dear for each word: of text the server's CPU
time counts, not the rate.
"""

import json
from collections.abc import Sequence

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

SSE, GRPC = f"{OURS}, SSE", f"{OURS}, gRPC"
TEXT_TARGETS = (
    Target(SSE, at_most=1.0, figure=SERVER_TIME),
    Target(SSE, at_most=1.0, figure=FIRST_P50),
)
FRAME_TARGETS = (Target(GRPC, at_least=0.95), Target(GRPC, figure=SERVER_TIME))


def sockets(plan: Plan) -> list[Row]:
    """CPU time a response and first responses; frames a second."""
    request = json.dumps({**json.loads(v2_body(prompt())), "own_stream": True}).encode()
    call, sse = SocketCall("text-model", request, _has_words), events(OURS, "text", prompt())
    found, calls = [], dict[str, Call]()
    for count in (1, MANY):
        calls = {OURS: (first_responses, call, count), SSE: (first_responses, sse, count)}
        found.append(Case(f"sockets, text, {clients(count)}", "response", calls, TEXT_TARGETS))
    images = [binary_request("image", each, str(at)) for at, each in enumerate(frames())]
    for mode, in_flight in {"lockstep": 1, "8 in flight": 8}.items():
        # Twice: the stream's first answer has headers too.
        more = (in_flight, 1, True, False, False, 2)
        calls = {
            OURS: (items, "socket jpeg-model", images, _is_frame, *more),
            GRPC: frame_calls(in_flight)[OURS],
        }
        found.append(Case(f"sockets, JPEG 640x480, {mode}", "frame", calls, FRAME_TARGETS))
    return measured(plan, {OURS: ours, SSE: ours, GRPC: ours}, found)


def _has_words(messages: Sequence[bytes]) -> bool:
    """Whether answers have the prompt again, a word each."""
    return [json.loads(each)["outputs"][0]["data"][0] for each in messages] == pieces(prompt())


def _is_frame(index: int, message: bytes) -> bool:
    """Whether an answer holds frame `index` again."""
    return is_right_frame("drawn", index, parts(message)[1][4:])
