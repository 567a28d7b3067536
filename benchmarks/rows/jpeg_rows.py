"""JPEG frames 640x480, quality 95, decoded and encoded again: on one core, and on two.

Fresh servers for each group of rows: whether a process page-faults on its frames' buffers changes
during its life, and that moves a frame's cost more than most of what one would measure.
"""

from collections.abc import Sequence
from dataclasses import replace

from ..contenders.contenders import OURS, TRITON
from ..contenders.peer_servers import starts
from ..inputs.frames import Scene
from ..loads.samples import Sample, Target
from .asked import PEERS, frame_calls
from .codec_loop import measure_loop
from .measured import RATE, Call, Case, Plan, Row, measured

LOOP, TWO_LOOPS = "bare cv2 loop, 1 thread", "bare cv2 loop, 2 threads"
# A rate as it would be if the client took none of the two cores.
WITHOUT_CLIENT = "responses_per_second_without_client"
NOTE = ". KServe, LitServe, BentoML: unary calls, as many at once as others have frames in flight"
# How frames are sent: so many in flight on each of so many streams.
MODES = {"lockstep": (1, 1), "8 in flight": (8, 1), "4 streams": (1, 4)}
OTHERS = tuple(Target(who) for who in PEERS)


def jpeg(plan: Plan) -> list[Row]:
    """Frames a second."""

    def bare(threads: int, cores: set[int], scene: Scene = "drawn") -> Call:
        return (measure_loop, threads, cores, scene)

    one = (Target(LOOP, at_least=0.88), Target(TRITON, at_least=1.3), *OTHERS)
    alone = {LOOP: bare(1, plan.server_cores)}
    cases = [case(f"one core, {mode}", mode, one, alone) for mode in MODES]
    rows = measured(plan, starts("jpeg", OURS, *PEERS), cases)
    two = starts("jpeg", OURS, *PEERS, workers=2)
    both = {LOOP: bare(1, plan.all_cores), TWO_LOOPS: bare(2, plan.all_cores)}
    cases = [
        case(f"two cores, {mode}", mode, (Target(TWO_LOOPS, least), Target(LOOP), *OTHERS), both)
        for mode, least in {"8 in flight": 0.85, "4 streams": None}.items()
    ]
    rows += measured(plan, two, cases, shared=True)
    noisy = {LOOP: bare(1, plan.all_cores, "noisy")}
    targets = (Target(LOOP, at_least=1.6, figure=WITHOUT_CLIENT), Target(LOOP), *OTHERS)
    last = case("noisy, two cores, 8 in flight", "8 in flight", targets, noisy, "noisy")
    return rows + measured(plan, two, [last], shared=True)


def case(
    title: str,
    mode: str,
    targets: Sequence[Target],
    loops: dict[str, Call],
    scene: Scene = "drawn",
) -> Case:
    two_cores = "two cores" in title
    calls = frame_calls(*MODES[mode], not two_cores, scene) | loops
    adjust = without_client if two_cores else lambda sample: sample
    return Case(f"JPEG 640x480, {title}", "frame", calls, targets, note=NOTE, adjust=adjust)


def without_client(sample: Sample) -> Sample:
    """A window of two cores with one figure more: the rate for the part of them that the client has
    left."""
    taken = sample.figures["client_cpu_percent"] / 200
    rate = sample.figures[RATE] / (1 - taken)
    return replace(sample, figures={**sample.figures, WITHOUT_CLIENT: rate})
