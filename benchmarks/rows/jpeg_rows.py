"""JPEG frames 640x480, quality 95, decoded and encoded again: on one core, and on two.

Fresh servers for each group of rows: whether a process page-faults on its frames' buffers changes
during its life, and that moves a frame's cost more than most of what one would measure.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from ..contenders.contenders import (
    BENTOML,
    BY_HAND_GRPC,
    KSERVE,
    LITSERVE,
    OURS,
    STOCK,
    TRITON,
)
from ..contenders.peer_servers import model_of, starts
from ..inputs.frames import (
    Scene,
    frame_requests,
    frames,
    is_first_message,
    is_right_answer,
    is_right_frame,
)
from ..inputs.triton_dialect import plain, unwrapped
from ..loads.event_stream import form
from ..loads.grpc_load import grpc_messages
from ..loads.plain_load import GrpcCall, HttpCall, h2load, wrk
from ..loads.samples import Sample, Target
from .codec_loop import measure_loop
from .measured import RATE, Call, Case, Plan, Row, measured

LOOP, TWO_LOOPS = "bare cv2 loop, 1 thread", "bare cv2 loop, 2 threads"
# A rate as it would be if the client took none of the two cores.
WITHOUT_CLIENT = "responses_per_second_without_client"
NOTE = ". KServe, LitServe, BentoML: unary calls, as many at once as others have frames in flight"
PEERS = (STOCK, TRITON, BY_HAND_GRPC, KSERVE, LITSERVE, BENTOML)
# How frames are sent: so many in flight on each of so many streams.
MODES = {"lockstep": (1, 1), "8 in flight": (8, 1), "4 streams": (1, 4)}


def jpeg(plan: Plan) -> list[Row]:
    """Frames a second."""
    one = (Target(LOOP, at_least=0.88), Target(TRITON, at_least=1.3), *_beside(TRITON))
    rows = measured(
        plan,
        starts("jpeg", OURS, *PEERS),
        [
            _case(f"JPEG 640x480, one core, {mode}", mode, one, {LOOP: _loop(1, plan.server_cores)})
            for mode in MODES
        ],
    )
    two = starts("jpeg", OURS, *PEERS, workers=2)
    loops = {LOOP: _loop(1, plan.all_cores), TWO_LOOPS: _loop(2, plan.all_cores)}
    at_least = {"8 in flight": 0.85, "4 streams": None}
    rows += measured(
        plan,
        two,
        [
            _case(
                f"JPEG 640x480, two cores, {mode}",
                mode,
                (Target(TWO_LOOPS, least), Target(LOOP), *_beside()),
                loops,
            )
            for mode, least in at_least.items()
        ],
        shared=True,
    )
    noisy = {LOOP: _loop(1, plan.all_cores, "noisy")}
    targets = (Target(LOOP, at_least=1.6, figure=WITHOUT_CLIENT), Target(LOOP), *_beside())
    title = "JPEG 640x480, noisy, two cores, 8 in flight"
    case = _case(title, "8 in flight", targets, noisy, "noisy")
    return rows + measured(plan, two, [case], shared=True)


def _beside(*others: str) -> list[Target]:
    return [Target(who) for who in PEERS if who not in others]


def _loop(threads: int, cores: set[int], scene: Scene = "drawn") -> Call:
    return (measure_loop, threads, cores, scene)


def _case(
    title: str,
    mode: str,
    targets: tuple[Target, ...],
    loops: Mapping[str, Call],
    scene: Scene = "drawn",
) -> Case:
    in_flight, streams = MODES[mode]
    # Triton has two instances on two cores, which need not keep the requests' order.
    in_order = "one core" in title
    calls: dict[str, Call] = {
        who: (
            grpc_messages,
            frame_requests(model_of(who, "jpeg"), scene),
            partial(is_right_answer, unwrapped if who == TRITON else plain, scene),
            in_flight,
            streams,
            in_order or who != TRITON,
        )
        for who in (OURS, STOCK, TRITON, BY_HAND_GRPC)
    }
    at_once, first = in_flight * streams, frames(scene)[0]
    message, right = frame_requests("jpeg", scene)[0], partial(is_first_message, scene)
    calls[KSERVE] = (h2load, GrpcCall("ModelInfer", message, right), at_once)
    shown = partial(is_right_frame, scene, 0)
    body, kind = form(first)
    calls[LITSERVE] = (wrk, HttpCall("/predict", body, shown, content_type=kind), at_once)
    raw = "application/octet-stream"
    calls[BENTOML] = (wrk, HttpCall("/jpeg", first, shown, content_type=raw), at_once)
    two_cores = "two cores" in title
    adjust = without_client if two_cores else lambda sample: sample
    return Case(title, "frame", {**calls, **loops}, targets, note=NOTE, adjust=adjust)


def without_client(sample: Sample) -> Sample:
    """A window of two cores with one figure more: the rate for the part of them that the client has
    left."""
    taken = sample.figures["client_cpu_percent"] / 200
    rate = sample.figures[RATE] / (1 - taken)
    return replace(sample, figures={**sample.figures, WITHOUT_CLIENT: rate})
