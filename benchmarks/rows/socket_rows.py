"""The WebSocket beside this service's own other wires: text beside SSE, frames beside gRPC."""

import json
from collections.abc import Sequence
from functools import partial

from ..contenders.contenders import OURS, ours
from ..contenders.peer_servers import Start
from ..inputs.frames import frame_requests, frames, is_right_answer, is_right_frame
from ..inputs.text_prompt import pieces, prompt, v2_body
from ..inputs.triton_dialect import plain
from ..loads.first_load import sse_first
from ..loads.grpc_load import grpc_messages
from ..loads.samples import Target
from ..loads.socket_load import binary_request, socket_first, socket_frames
from .measured import FIRST_P50, MANY, SERVER_TIME, Call, Case, Plan, Row, measured
from .text_rows import sse_calls

SSE, GRPC = "ours, SSE", "ours, gRPC"
TEXT_AT_LEAST, FRAMES_AT_LEAST, FIRST_AT_MOST = 1.0, 0.95, 1.0
IN_FLIGHT = 8


def sockets(plan: Plan) -> list[Row]:
    """Responses a second and first responses; frames a second."""
    starts: dict[str, Start] = {OURS: ours, SSE: ours, GRPC: ours}
    request = json.dumps({**json.loads(v2_body(prompt())), "own_stream": True}).encode()
    found = []
    asked: dict[str, Call]
    targets: tuple[Target, ...]
    for count in (1, MANY):
        asked = {
            OURS: (socket_first, "text-model", request, partial(_has, prompt()), count),
            SSE: (sse_first, sse_calls()[OURS], count),
        }
        targets = (
            Target(SSE, at_least=TEXT_AT_LEAST),
            Target(SSE, at_most=FIRST_AT_MOST, figure=FIRST_P50),
            Target(SSE, figure=SERVER_TIME),
        )
        title = f"sockets, text, {count} client{'s' if count > 1 else ''}"
        found.append(Case(title, "response", asked, targets))
    images = [binary_request("image", each) for each in frames()]
    for mode, in_flight in {"lockstep": 1, f"{IN_FLIGHT} in flight": IN_FLIGHT}.items():
        right = partial(is_right_answer, plain, "drawn")
        asked = {
            OURS: (socket_frames, "jpeg-model", images, _is_frame, in_flight),
            GRPC: (grpc_messages, frame_requests("jpeg-model"), right, in_flight),
        }
        targets = (Target(GRPC, at_least=FRAMES_AT_LEAST), Target(GRPC, figure=SERVER_TIME))
        found.append(Case(f"sockets, JPEG 640x480, {mode}", "frame", asked, targets))
    return measured(plan, starts, found)


def _has(text: str, messages: Sequence[bytes]) -> bool:
    """Whether answers have it again, a word each."""
    return [json.loads(each)["outputs"][0]["data"][0] for each in messages] == pieces(text)


def _is_frame(index: int, message: bytes) -> bool:
    """Whether an answer holds frame `index` again."""
    return is_right_frame("drawn", index, message[4 + int.from_bytes(message[:4], "little") + 4 :])
