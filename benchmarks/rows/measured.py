"""What a row of the benchmark is, and how it is measured: windows of its contenders in turn, its
targets beside whoever was measured."""

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from ..contenders.contenders import OURS, OURS_OTHER_GRPC
from ..contenders.peer_servers import Start
from ..contenders.process import ContenderError, settled
from ..contenders.started import folder_of, reason, started
from ..loads.load_process import LoadProcess
from ..loads.plain_load import missing
from ..loads.samples import Ratio, Sample, Target, alternate, medians, ratio
from .machine_speed import speed_ms

RATE = "responses_per_second"
FIRST_P99 = "first_response_p99_ms"
SERVER_TIME, PER_CPU = "server_cpu_us_per_response", "responses_per_cpu_second"
PINNED = "server on one core, client on the other"
SHARED = "server and client share two cores"
MANY = 32
# A load, and what it is given after the contender and the seconds.
Call = tuple[Any, ...]


@dataclass(frozen=True)
class Plan:
    """How to measure.

    Attributes:
        rounds: windows of each contender; medians are taken over them.
        seconds: length of a window.
        folder: for the contenders' folders and logs.
        server_cores, client_cores: one core each where a row pins them.
        paced_seconds: length of a run of paced streams.
        most_streams: never try more paced streams.
        row: part of the titles of the rows that are wanted.
        beside: parts of the names of the contenders that are wanted; none: all.
    """

    rounds: int
    seconds: float
    folder: Path
    server_cores: set[int]
    client_cores: set[int]
    paced_seconds: float = 1.5
    most_streams: int = 4096
    row: str = ""
    beside: tuple[str, ...] = ()

    @property
    def all_cores(self) -> set[int]:
        return self.server_cores | self.client_cores


@dataclass(frozen=True)
class Row:
    """One workload: the samples of every contender, and the ratios that count.

    Attributes:
        unit: what a response is.
        cores: where server and client ran, in words.
        absent: who was not measured, and why.
        speed_ms: how fast the machine was just before it and just after (machine_speed.py).
    """

    title: str
    unit: str
    cores: str
    samples: Mapping[str, Sequence[Sample]]
    ratios: tuple[Ratio, ...]
    absent: Mapping[str, str] = field(default_factory=dict)
    speed_ms: tuple[float, float] | None = None

    def as_dict(self, machine: Mapping[str, str]) -> dict[str, Any]:
        """The row as it is written, every round of it."""
        contenders = {
            name: {
                "medians": medians(samples),
                "rounds": [dict(sample.figures) for sample in samples],
                "runs": [asdict(run) for sample in samples for run in sample.runs],
            }
            for name, samples in self.samples.items()
        }
        return {
            "title": self.title,
            "unit": self.unit,
            "cores": self.cores,
            "machine": dict(machine),
            "speed_ms": self.speed_ms,
            "contenders": contenders,
            "ratios": [asdict(each) for each in self.ratios],
            "not measured": dict(self.absent),
        }


@dataclass(frozen=True)
class Case:
    """A row that is to be measured.

    Attributes:
        calls: how each contender is asked; one that is no server has a function of the seconds and
            what else stands there.
        again: the one that the others are compared with.
        cannot: who is not asked, and why.
        adjust: makes of a window's figures those of the row.
        windows: there is one window for so many rounds.
    """

    title: str
    unit: str
    calls: Mapping[str, Call]
    targets: Sequence[Target]
    again: str = OURS
    cannot: Mapping[str, str] = field(default_factory=dict)
    note: str = ""
    adjust: Callable[[Sample], Sample] = lambda sample: sample
    windows: int = 1


def measured(
    plan: Plan, starts: Mapping[str, Start], cases: Iterable[Case], shared: bool = False
) -> list[Row]:
    """Measure the cases that the plan wants, with all their contenders running.

    Args:
        shared: server and client share all cores.
    """
    wanted = [_possible(plan, case) for case in cases if plan.row in case.title]
    if not wanted:
        return []
    names = {who for case in wanted for who in case.calls}
    needed = {name: start for name, start in starts.items() if name in names}
    server_cores = plan.all_cores if shared else plan.server_cores
    client_cores = plan.all_cores if shared else plan.client_cores
    place = folder_of(plan.folder, wanted[0].title)
    with (
        started(needed, place, server_cores, wanted[0].again) as (servers, absent),
        LoadProcess(client_cores) as load,
    ):

        def settle() -> None:
            settled(*(each.process.pid for each in servers.values()))

        def window(case: Case, who: str) -> Sample:
            function, *given = case.calls[who]
            settle()
            if who not in starts:
                return case.adjust(function(plan.seconds, *given))
            return case.adjust(load.measure(servers[who], function, plan.seconds, *given))

        rows = []
        for case in wanted:
            gone = {who: why for who, why in absent.items() if who in case.calls}
            windows = {who: partial(window, case, who) for who in case.calls if who not in gone}
            cores = (SHARED if shared else PINNED) + case.note
            rounds = -(-plan.rounds // case.windows)
            settle()
            before = speed_ms()
            row = measure_row(case, cores, rounds, windows, gone)
            settle()
            rows.append(replace(row, speed_ms=(before, speed_ms())))
        return rows


def clients(count: int) -> str:
    """So many, in a title."""
    return f"{count} client{'s' if count > 1 else ''}"


def of_both(*targets: Target) -> tuple[Target, ...]:
    """What is asked of ours, and the same of ours with the other gRPC server."""
    return targets + tuple(replace(each, of=OURS_OTHER_GRPC) for each in targets)


def _possible(plan: Plan, case: Case) -> Case:
    """The case with the contenders that are wanted, and can be asked here."""
    parts = plan.beside or ("",)
    calls = {
        who: call
        for who, call in case.calls.items()
        if who == case.again or any(part in who for part in parts)
    }
    gone = {who: why for who, call in calls.items() if (why := missing(call[0].__name__))}
    calls = {} if case.again in gone else {who: calls[who] for who in calls if who not in gone}
    return replace(case, calls=calls, cannot={**case.cannot, **gone})


def measure_row(
    case: Case,
    cores: str,
    rounds: int,
    windows: Mapping[str, Callable[[], Sample]],
    absent: Mapping[str, str],
) -> Row:
    """Measure one row; a peer that answers wrongly leaves it, the one that it is compared with ends
    the run.

    Raises:
        ContenderError: that one cannot be measured.
    """
    gone = {**case.cannot, **absent}

    def fails(name: str, error: ContenderError) -> None:
        if name == case.again:
            raise error
        gone[name] = reason(error)

    print(case.title, file=sys.stderr)
    samples = alternate(rounds, windows, case.again, fails)
    there = {"", *samples}
    both = [each for each in case.targets if each.of in there and each.over in there]
    ratios = tuple(ratio(samples, each) for each in both)
    return Row(case.title, case.unit, cores, samples, ratios, gone)
