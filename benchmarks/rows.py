"""What a row of the benchmark is, and what it is measured with."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .samples import Ratio, Sample


@dataclass(frozen=True)
class Plan:
    """How to measure.

    Attributes:
        rounds: windows of each contender; medians are taken over them.
        seconds: length of a window.
        folder: for the contenders' folders and logs.
        server_cores, client_cores: one core each where a row pins them.
    """

    rounds: int
    seconds: float
    folder: Path
    server_cores: set[int]
    client_cores: set[int]

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


RowMaker = Callable[[Plan], list[Row]]
PINNED = "server on one core, client on the other"
SHARED = "server and client share two cores"
