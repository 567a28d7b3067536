"""What a row of the benchmark is, and how it is measured: windows of its contenders in turn, its
targets beside whoever was measured."""

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..contenders.contenders import OURS
from ..contenders.peer_servers import Start
from ..contenders.process import ContenderError
from ..contenders.started import reason, started
from ..loads.load_process import LoadProcess
from ..loads.plain_load import missing
from ..loads.samples import Ratio, Sample, alternate, ratio, spreads

RATE = "responses_per_second"
FIRST_P50, FIRST_P99 = "first_response_p50_ms", "first_response_p99_ms"
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

    def wants(self, title: str) -> bool:
        return self.row in title

    def shows(self, who: str) -> bool:
        return not self.beside or any(part in who for part in self.beside)


@dataclass(frozen=True)
class Target:
    """What is asked of a contender beside another; without a bound the ratio is only shown."""

    over: str
    at_least: float | None = None
    at_most: float | None = None
    figure: str = RATE
    of: str = OURS
    later: bool = False


@dataclass(frozen=True)
class Row:
    """One workload: the samples of every contender, and the ratios that count.

    Attributes:
        unit: what a response is.
        cores: where server and client ran, in words.
        absent: who was not measured, and why.
        runs: of paced rows, every run that was tried.
    """

    title: str
    unit: str
    cores: str
    samples: Mapping[str, Sequence[Sample]]
    ratios: tuple[Ratio, ...]
    absent: Mapping[str, str] = field(default_factory=dict)
    runs: Mapping[str, list[Any]] = field(default_factory=dict)

    def as_dict(self, machine: Mapping[str, str]) -> dict[str, Any]:
        """The row as it is written, every round of it."""
        contenders = {
            name: {
                "medians": {figure: each.median for figure, each in spreads(samples).items()},
                "rounds": [dict(sample.figures) for sample in samples],
                **({"runs": self.runs[name]} if name in self.runs else {}),
            }
            for name, samples in self.samples.items()
        }
        return {
            "title": self.title,
            "unit": self.unit,
            "cores": self.cores,
            "machine": dict(machine),
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
    """

    title: str
    unit: str
    calls: Mapping[str, Call]
    targets: Sequence[Target]
    again: str = OURS
    cannot: Mapping[str, str] = field(default_factory=dict)
    note: str = ""
    adjust: Callable[[Sample], Sample] = lambda sample: sample


def measured(
    plan: Plan, starts: Mapping[str, Start], cases: Iterable[Case], shared: bool = False
) -> list[Row]:
    """Measure the cases that the plan wants, with all their contenders running.

    Args:
        shared: server and client share all cores.
    """
    wanted = [case for case in cases if plan.wants(case.title)]
    names = {who for case in wanted for who in _wanted(plan, case)}
    server_cores, client_cores = (
        (plan.all_cores, plan.all_cores) if shared else (plan.server_cores, plan.client_cores)
    )
    if not names:
        return [_row(plan, case, {}, {}, shared) for case in wanted]
    folder = plan.folder / "".join(c if c.isalnum() else "-" for c in wanted[0].title)
    needed = {name: start for name, start in starts.items() if name in names}
    with (
        started(needed, folder, server_cores, wanted[0].again) as (servers, absent),
        LoadProcess(client_cores) as load,
    ):

        def window(case: Case, who: str) -> Sample:
            function, *given = case.calls[who]
            if who not in starts:
                return case.adjust(function(plan.seconds, *given))
            return case.adjust(load.measure(servers[who], function, plan.seconds, *given))

        def windows(case: Case) -> dict[str, Callable[[], Sample]]:
            return {
                who: lambda who=who: window(case, who)  # type: ignore[misc]
                for who in _wanted(plan, case)
                if who in servers or who not in starts
            }

        return [_row(plan, case, windows(case), absent, shared) for case in wanted]


def _wanted(plan: Plan, case: Case) -> list[str]:
    """The contenders that can be asked here."""
    if missing_program(case, case.again):
        return []
    kept = {case.again, *(target.of for target in case.targets)}
    return [
        who
        for who in case.calls
        if (who in kept or plan.shows(who)) and not missing_program(case, who)
    ]


def missing_program(case: Case, who: str) -> str:
    name = case.calls[who][0].__name__
    return missing(name) if name in ("wrk", "h2load") else ""


def _row(
    plan: Plan,
    case: Case,
    windows: Mapping[str, Callable[[], Sample]],
    absent: Mapping[str, str],
    shared: bool,
) -> Row:
    gone = {who: why for who, why in absent.items() if who in case.calls} | dict(case.cannot)
    gone |= {who: why for who in case.calls if (why := missing_program(case, who))}
    cores = (SHARED if shared else PINNED) + case.note
    if case.again not in windows:
        return Row(case.title, case.unit, cores, {}, (), gone)
    return measure_row(
        case.title, case.unit, cores, plan.rounds, windows, case.targets, gone, case.again
    )


def measure_row(
    title: str,
    unit: str,
    cores: str,
    rounds: int,
    contenders: Mapping[str, Callable[[], Sample]],
    targets: Iterable[Target],
    absent: Mapping[str, str],
    again: str = OURS,
) -> Row:
    """Measure one row; a peer that answers wrongly leaves it, the one that it is compared with ends
    the run.

    Raises:
        ContenderError: that one cannot be measured.
    """
    gone = dict(absent)

    def fails(name: str, error: ContenderError) -> None:
        if name == again:
            raise error
        gone[name] = reason(error)

    print(title, file=sys.stderr)
    samples = alternate(rounds, contenders, fails, again)
    return Row(title, unit, cores, samples, ratios(samples, targets), gone)


def ratios(samples: Mapping[str, Sequence[Sample]], targets: Iterable[Target]) -> tuple[Ratio, ...]:
    """Those whose two contenders were both measured."""
    return tuple(
        ratio(samples, each.of, each.over, each.figure, each.at_least, each.at_most, each.later)
        for each in targets
        if each.of in samples and each.over in samples
    )
