"""JPEG frames 640x480, quality 95, decoded and encoded again: on one core, and on two.

A fresh server for each row's group: whether a process page-faults on its frames' buffers changes
during its life, and that moves a frame's cost more than most of what one would measure.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from ..contenders.contenders import OURS, STOCK, ours, stock
from ..contenders.peer_servers import (
    BENTOML,
    BY_HAND_GRPC,
    KSERVE,
    LITSERVE,
    TRITON,
    bentoml,
    by_hand_grpc,
    kserve,
    litserve,
    triton,
)
from ..contenders.started import Start, started
from ..inputs.frames import frame_requests, frames, is_right_answer, is_right_frame
from ..loads.grpc_load import grpc_messages, grpc_unary
from ..loads.http_load import http_calls, post, post_file
from ..loads.load_process import LoadProcess
from ..loads.samples import Sample
from ..loads.triton_dialect import plain, unwrapped
from .codec_loop import measure_loop
from .measured import Target, measure_row
from .rows import PINNED, SHARED, Plan, Row

LOOP, TWO_LOOPS = "bare cv2 loop, 1 thread", "bare cv2 loop, 2 threads"
NOTE = (
    "KServe: unary gRPC; LitServe, BentoML: unary HTTP, as many calls at once as others have "
    "frames in flight"
)


@dataclass(frozen=True)
class Mode:
    """How frames are sent."""

    title: str
    in_flight: int
    streams: int = 1


LOCKSTEP, IN_FLIGHT = Mode("lockstep", 1), Mode("8 in flight", 8)
FOUR_STREAMS = Mode("4 streams", 1, streams=4)
ONE_CORE = (
    Target(LOOP, at_least=0.88),
    Target(TRITON, at_least=1.3),
    Target(STOCK),
    Target(BY_HAND_GRPC),
    Target(KSERVE),
    Target(LITSERVE),
    Target(BENTOML),
)
TWO_CORES = (
    Target(LOOP),
    Target(TRITON),
    Target(STOCK),
    Target(BY_HAND_GRPC),
    Target(KSERVE),
    Target(LITSERVE),
    Target(BENTOML),
)


# For the paced cameras too.
ON_TWO_CORES: dict[str, Start] = {
    OURS: ours,
    STOCK: lambda folder, cores: stock(folder, cores, "stock-jpeg"),
    TRITON: lambda folder, cores: triton(folder, cores, "jpeg", instances=2),
    KSERVE: kserve,
    LITSERVE: lambda folder, cores: litserve(folder, cores, "jpeg", workers=2),
    BENTOML: lambda folder, cores: bentoml(folder, cores, workers=2),
    BY_HAND_GRPC: by_hand_grpc,
}


def jpeg(plan: Plan) -> list[Row]:
    """Frames a second."""
    return [*_one_core(plan), *_two_cores(plan)]


def _one_core(plan: Plan) -> list[Row]:
    starts: dict[str, Start] = {
        OURS: ours,
        STOCK: lambda folder, cores: stock(folder, cores, "stock-jpeg"),
        TRITON: lambda folder, cores: triton(folder, cores, "jpeg"),
        KSERVE: kserve,
        LITSERVE: lambda folder, cores: litserve(folder, cores, "jpeg"),
        BENTOML: bentoml,
        BY_HAND_GRPC: by_hand_grpc,
    }
    loops = {LOOP: partial(measure_loop, plan.seconds, 1, True, plan.server_cores)}
    modes = {mode: ONE_CORE for mode in (LOCKSTEP, IN_FLIGHT, FOUR_STREAMS)}
    return _rows(plan, "one core", starts, loops, modes, plan.server_cores, plan.client_cores)


def _two_cores(plan: Plan) -> list[Row]:
    cores = plan.all_cores
    loops = {
        LOOP: partial(measure_loop, plan.seconds, 1, True, cores),
        TWO_LOOPS: partial(measure_loop, plan.seconds, 2, True, cores),
    }
    modes = {
        IN_FLIGHT: (Target(TWO_LOOPS, at_least=0.85), *TWO_CORES),
        FOUR_STREAMS: (Target(TWO_LOOPS), *TWO_CORES),
    }
    return _rows(plan, "two cores", ON_TWO_CORES, loops, modes, cores, cores)


def _rows(
    plan: Plan,
    title: str,
    starts: dict[str, Start],
    loops: Mapping[str, Callable[[], Sample]],
    modes: Mapping[Mode, tuple[Target, ...]],
    cores: set[int],
    client_cores: set[int],
) -> list[Row]:
    calls = _calls(in_order=title == "one core")
    with (
        started(starts, plan.folder / title.replace(" ", "-"), cores, OURS) as (servers, absent),
        LoadProcess(client_cores) as load,
    ):

        def window(who: str, mode: Mode) -> Sample:
            drive, *given = calls[who]
            if drive is grpc_messages:
                requests, right, ordered = given
                given = [requests, right, mode.in_flight, plan.seconds, mode.streams, ordered]
            else:
                given += [mode.in_flight * mode.streams, plan.seconds]
            found: Sample = load.measure(servers[who], drive, *given)
            return found

        def windows(mode: Mode) -> dict[str, Callable[[], Sample]]:
            found = {who: partial(window, who, mode) for who in starts if who in servers}
            return {**found, **loops}

        where = PINNED if title == "one core" else SHARED
        return [
            measure_row(
                f"JPEG 640x480, {title}, {mode.title}",
                "frame",
                f"{where}. {NOTE}",
                plan.rounds,
                windows(mode),
                targets,
                absent,
            )
            for mode, targets in modes.items()
        ]


def _calls(in_order: bool) -> dict[str, tuple[Any, ...]]:
    """What drives each contender: the load and what it needs.

    Args:
        in_order: whether Triton has one instance, so that its answers keep the requests' order.
    """
    right = partial(is_right_answer, plain)
    triton_right = partial(is_right_answer, unwrapped)
    return {
        OURS: (grpc_messages, frame_requests("jpeg-model"), right, True),
        STOCK: (grpc_messages, frame_requests("stock-jpeg"), right, True),
        TRITON: (grpc_messages, frame_requests("jpeg"), triton_right, in_order),
        BY_HAND_GRPC: (grpc_messages, frame_requests("jpeg"), right, True),
        KSERVE: (grpc_unary, frame_requests("jpeg"), right),
        LITSERVE: (http_calls, [post_file("/predict", f) for f in frames()], is_right_frame),
        BENTOML: (http_calls, [post("/jpeg", f) for f in frames()], is_right_frame),
    }
