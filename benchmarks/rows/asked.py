"""How each contender is asked to do a kind of work: by which wire, where, in which form."""

from collections.abc import Callable, Sequence
from functools import partial

from mlserver.grpc import dataplane_pb2 as pb

from ..contenders.contenders import (
    BENTOML,
    BY_HAND_GRPC,
    KSERVE,
    LITSERVE,
    OURS,
    OURS_OTHER_GRPC,
    STOCK,
    TRITON,
)
from ..contenders.peer_servers import model_of
from ..inputs import text_prompt as of_text
from ..inputs.frames import Scene, frame_requests, frames, is_right_frame
from ..inputs.text_prompt import flat_body, message, v2_body
from ..inputs.triton_dialect import plain, unwrapped
from ..loads.calls import GrpcCall, HttpCall
from ..loads.grpc_wire import STREAM, UNARY
from ..loads.http_wire import form
from ..loads.in_flight import items
from ..loads.plain_load import h2load, wrk
from .measured import Call

# Who streams items over gRPC; KServe has unary calls there, LitServe and BentoML speak HTTP only.
STREAMING = (OURS, OURS_OTHER_GRPC, STOCK, TRITON, BY_HAND_GRPC)
PEERS = (STOCK, TRITON, BY_HAND_GRPC, KSERVE, LITSERVE, BENTOML)
HTTP_ONLY = dict.fromkeys((LITSERVE, BENTOML), "speaks HTTP only")
RAW = "application/octet-stream"


def events(who: str, work: str, text: str, call: str = "generate_stream") -> HttpCall:
    """For a stream of words."""
    path, body = f"/v2/models/{model_of(who, work)}/{call}", v2_body(text)
    if who in (TRITON, LITSERVE, BENTOML):
        path = {LITSERVE: "/predict", BENTOML: f"/{work}"}.get(who, path)
        body = flat_body(text)
    return HttpCall(path, body, partial(of_text.are_events, text), len(text.split(" ")))


def messages(who: str, work: str, text: str, triton: bool = False) -> GrpcCall:
    """The same over gRPC; in Triton's dialect of Triton, or of whom else it is asked."""
    triton = triton or who == TRITON
    wanted = of_text.pieces(text)
    right = partial(of_text.are_messages, unwrapped if triton else plain, wanted)
    return GrpcCall(STREAM, message(model_of(who, work), text), right, triton)


def unary(who: str, model: str, text: str) -> HttpCall:
    """For the same text again."""
    path = {LITSERVE: "/predict", BENTOML: f"/{model}"}.get(who, f"/v2/models/{model}/infer")
    body = (flat_body if who in HTTP_ONLY else v2_body)(text)
    return HttpCall(path, body, partial(of_text.holds, text))


def unary_message(model: str, text: str) -> GrpcCall:
    """The same over gRPC."""
    return GrpcCall(UNARY, message(model, text), partial(of_text.are_messages, plain, [text]))


def elements(
    work: str,
    requests: Callable[[str], Sequence[bytes]],
    first: bytes,
    is_right: Callable[[int, bytes], bool],
    in_flight: int,
    streams: int = 1,
    in_order: bool = True,
) -> dict[str, Call]:
    """For large elements, of all who can do such work.

    Args:
        requests: serialised, for a model of this name.
        first: the first of the elements.
        is_right: of an element's place, and what it was answered with.
        in_order: whether Triton keeps the order; two instances need not.
    """
    calls: dict[str, Call] = {}
    for who in set(STREAMING) - {OURS_OTHER_GRPC}:
        right = partial(has_element, unwrapped if who == TRITON else plain, is_right)
        asked = (way(who), requests(model_of(who, work)), right, in_flight, streams)
        calls[who] = (items, *asked, in_order or who != TRITON)
    at_once, only = in_flight * streams, partial(is_only_element, is_right)
    calls[KSERVE] = (h2load, GrpcCall(UNARY, requests(work)[0], only), at_once)
    right_body = partial(is_right, 0)
    for who in (LITSERVE, BENTOML):
        calls[who] = (wrk, upload(who, work, first, right_body), at_once)
    return calls


def frame_calls(
    in_flight: int, streams: int = 1, in_order: bool = True, scene: Scene = "drawn"
) -> dict[str, Call]:
    """For JPEG frames, coded again."""
    requests, right = partial(frame_requests, scene=scene), partial(is_right_frame, scene)
    return elements("jpeg", requests, frames(scene)[0], right, in_flight, streams, in_order)


def upload(who: str, work: str, data: bytes, is_right: Callable[[bytes], bool]) -> HttpCall:
    """An element over HTTP: LitServe has forms, BentoML bodies."""
    body, kind = form(data) if who == LITSERVE else (data, RAW)
    path = "/predict" if who == LITSERVE else f"/{work}"
    return HttpCall(path, body, is_right, content_type=kind)


def way(who: str) -> str:
    """A contender's way of streaming over gRPC (loads/calls.py)."""
    return "triton" if who == TRITON else "grpc"


def has_element(
    unwrap: Callable[[bytes], bytes],
    is_right: Callable[[int, bytes], bool],
    index: int,
    message: bytes,
) -> bool:
    """Whether a response holds the right element."""
    response = pb.ModelInferResponse.FromString(unwrap(message))
    if not response.raw_output_contents:
        return False
    (raw,) = response.raw_output_contents
    return is_right(index, raw[4:] if response.outputs[0].datatype == "BYTES" else raw)


def is_only_element(is_right: Callable[[int, bytes], bool], messages: Sequence[bytes]) -> bool:
    """Whether the one response does."""
    return len(messages) == 1 and has_element(plain, is_right, 0, messages[0])
