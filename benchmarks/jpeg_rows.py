"""JPEG frames 640x480, quality 95, on two cores: decoded and encoded again.

A fresh server a window: whether a process page-faults on its frames' buffers changes during its
life (BENCH.md), and that moves a frame's cost more than most of what one would measure.
"""

from collections.abc import Callable
from pathlib import Path

from .codec_loop import measure_loop
from .contenders import OURS, STOCK, ours, stock
from .frames import frame_requests, is_right_answer
from .grpc_load import grpc_messages, grpc_unary
from .jpeg_client_load import client_frames
from .load_process import LoadProcess
from .rows import Plan, Row
from .samples import Sample, alternate, ratio

IN_FLIGHT = 8
LOOP, TWO_LOOPS = "bare cv2 loop, 1 thread", "bare cv2 loop, 2 threads"
KEPT_LOOP, KEPT_TWO = f"{LOOP}, no faults", f"{TWO_LOOPS}, no faults"
LOCKSTEP, CLIENT, SEED = f"{OURS}, lockstep", f"{OURS}, JpegStream", f"{STOCK}, seed's way"
LOOP_TARGET = 1.2


def jpeg(plan: Plan) -> list[Row]:
    """Frames a second; the load generator shares the two cores with the server."""
    raw = frame_requests("jpeg-model", as_base64=False)
    text = frame_requests("stock-jpeg", as_base64=True)
    numbers = iter(range(1_000_000))

    def folder() -> Path:
        return plan.folder / f"jpeg-{next(numbers)}"

    def in_flight(count: int) -> Callable[[], Sample]:
        def measure() -> Sample:
            with ours(folder(), plan.all_cores) as server:
                return load.measure(
                    server, grpc_messages, raw, is_right_answer, count, plan.seconds
                )

        return measure

    def client() -> Sample:
        with ours(folder(), plan.all_cores) as server:
            return load.measure(server, client_frames, IN_FLIGHT, plan.seconds)

    def seed() -> Sample:
        with stock(folder(), plan.all_cores, "stock-jpeg") as server:
            return load.measure(server, grpc_unary, text, is_right_answer, plan.seconds)

    def loop(threads: int, keep_memory: bool) -> Callable[[], Sample]:
        return lambda: measure_loop(plan.seconds, threads, keep_memory, plan.all_cores)

    with LoadProcess(plan.all_cores) as load:
        samples = alternate(
            plan.rounds,
            {
                OURS: in_flight(IN_FLIGHT),
                LOOP: loop(1, False),
                TWO_LOOPS: loop(2, False),
                SEED: seed,
                KEPT_LOOP: loop(1, True),
                KEPT_TWO: loop(2, True),
                CLIENT: client,
                LOCKSTEP: in_flight(1),
            },
        )
    ratios = (
        ratio(samples, OURS, LOOP, at_least=LOOP_TARGET),
        ratio(samples, OURS, KEPT_LOOP),
        ratio(samples, OURS, TWO_LOOPS),
        ratio(samples, OURS, KEPT_TWO),
        ratio(samples, OURS, SEED),
        ratio(samples, CLIENT, SEED),
    )
    title = f"JPEG 640x480, gRPC stream, {IN_FLIGHT} in flight"
    return [Row(title, "frame", "server and client share two cores", samples, ratios)]
