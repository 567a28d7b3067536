"""How each contender is asked to do a kind of work: by which wire, where, in which form."""

from collections.abc import Callable, Sequence
from functools import partial

from mlserver.grpc import dataplane_pb2 as pb

from ..contenders import contenders as named
from ..contenders.contenders import OURS, OURS_OTHER_GRPC, STOCK, TRITON
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
STREAMING = (OURS, OURS_OTHER_GRPC, STOCK, TRITON, named.BY_HAND_GRPC)
PEERS = (STOCK, TRITON, named.BY_HAND_GRPC, named.KSERVE, named.LITSERVE, named.BENTOML)
HTTP_ONLY = dict.fromkeys((named.LITSERVE, named.BENTOML), "speaks HTTP only")
RAW = "application/octet-stream"


def events(who: str, work: str, text: str, call: str = "generate_stream") -> HttpCall:
    """For a stream of words."""
    path = path_of(who, model_of(who, work), call)
    body = (flat_body if who in (TRITON, *HTTP_ONLY) else v2_body)(text)
    return HttpCall(path, body, partial(of_text.are_events, text), len(text.split(" ")))


def messages(who: str, work: str, text: str, triton: bool = False) -> GrpcCall:
    """The same over gRPC; in Triton's dialect of Triton, or of whom else it is asked."""
    triton = triton or who == TRITON
    wanted = of_text.pieces(text)
    right = partial(of_text.are_messages, unwrapped if triton else plain, wanted)
    return GrpcCall(STREAM, message(model_of(who, work), text), right, triton)


def unary(who: str, model: str, text: str) -> HttpCall:
    """For the same text again."""
    body = (flat_body if who in HTTP_ONLY else v2_body)(text)
    return HttpCall(path_of(who, model, "infer"), body, partial(of_text.holds, text))


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
    calls[named.KSERVE] = (h2load, GrpcCall(UNARY, requests(work)[0], only), at_once)
    right_body = partial(is_right, 0)
    for who in (named.LITSERVE, named.BENTOML):
        calls[who] = (wrk, upload(who, work, first, right_body), at_once)
    return calls


def frame_calls(
    in_flight: int, streams: int = 1, in_order: bool = True, scene: Scene = "drawn"
) -> dict[str, Call]:
    """For JPEG frames, coded again."""
    requests, right = partial(frame_requests, scene=scene), partial(is_right_frame, scene)
    return elements("jpeg", requests, frames(scene)[0], right, in_flight, streams, in_order)


def path_of(who: str, model: str, call: str = "") -> str:
    """Where a contender's model is asked over HTTP."""
    own = {named.LITSERVE: "/predict", named.BENTOML: f"/{model}"}
    return own.get(who, f"/v2/models/{model}/{call}")


def upload(who: str, work: str, data: bytes, is_right: Callable[[bytes], bool]) -> HttpCall:
    """An element over HTTP: LitServe has forms, BentoML bodies."""
    body, kind = form(data) if who == named.LITSERVE else (data, RAW)
    return HttpCall(path_of(who, work), body, is_right, content_type=kind)


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
