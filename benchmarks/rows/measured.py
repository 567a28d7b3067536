"""Windows of a row's contenders in turn, and its targets beside whoever was measured."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from ..contenders.contenders import OURS
from ..contenders.process import ContenderError
from ..contenders.started import reason
from ..loads.samples import Ratio, Sample, alternate, ratio
from .rows import Row

RATE = "responses_per_second"
FIRST_P50, FIRST_P99 = "first_response_p50_ms", "first_response_p99_ms"
SERVER_TIME, PER_CPU = "server_cpu_us_per_response", "responses_per_cpu_second"


@dataclass(frozen=True)
class Target:
    """What is asked of a contender beside another; without a bound the ratio is only shown."""

    over: str
    at_least: float | None = None
    at_most: float | None = None
    figure: str = RATE
    of: str = OURS


def measure_row(
    title: str,
    unit: str,
    cores: str,
    rounds: int,
    contenders: Mapping[str, Callable[[], Sample]],
    targets: Iterable[Target],
    absent: Mapping[str, str],
) -> Row:
    """Measure one row; a peer that answers wrongly leaves it, ours ends the run.

    Raises:
        ContenderError: ours cannot be measured.
    """
    gone = dict(absent)

    def fails(name: str, error: ContenderError) -> None:
        if name == OURS:
            raise error
        gone[name] = reason(error)

    samples = alternate(rounds, contenders, fails, OURS)
    return Row(title, unit, cores, samples, ratios(samples, targets), gone)


def ratios(samples: Mapping[str, list[Sample]], targets: Iterable[Target]) -> tuple[Ratio, ...]:
    """Those whose two contenders were both measured."""
    return tuple(
        ratio(samples, each.of, each.over, each.figure, each.at_least, each.at_most)
        for each in targets
        if each.of in samples and each.over in samples
    )
