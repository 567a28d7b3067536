"""What a row of the benchmark is, and what it is measured with."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..loads.pace import Paced
from ..loads.samples import Ratio, Sample


@dataclass(frozen=True)
class Plan:
    """How to measure.

    Attributes:
        rounds: windows of each contender; medians are taken over them.
        seconds: length of a window.
        paced_seconds: length of a run of paced streams.
        folder: for the contenders' folders and logs.
        server_cores, client_cores: one core each where a row pins them.
        most_streams: never try more paced streams.
    """

    rounds: int
    seconds: float
    folder: Path
    server_cores: set[int]
    client_cores: set[int]
    paced_seconds: float = 1.5
    most_streams: int = 4096

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
    """

    title: str
    unit: str
    cores: str
    samples: dict[str, list[Sample]]
    ratios: tuple[Ratio, ...]
    absent: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Found:
    """How many paced streams of a contender fit, and every run that was tried."""

    most: int
    runs: tuple[Paced, ...]

    @property
    def at_most(self) -> Paced | None:
        """The run with the most streams that fit."""
        fitting = [run for run in self.runs if run.streams == self.most]
        return fitting[-1] if fitting else None


@dataclass(frozen=True)
class PacedRow:
    """One paced workload: how many streams of every contender fit.

    Attributes:
        limit: seconds that p99 lateness may have.
        unit: what a stream is.
    """

    title: str
    unit: str
    cores: str
    limit: float
    found: dict[str, Found]
    ratios: tuple[Ratio, ...]
    absent: Mapping[str, str] = field(default_factory=dict)


AnyRow = Row | PacedRow
RowMaker = Callable[[Plan], Sequence[AnyRow]]
PINNED = "server on one core, client on the other"
SHARED = "server and client share two cores"
