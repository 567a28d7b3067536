"""What a measured window saw, and medians of several. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from math import ceil
from statistics import median

from ..contenders.process import ContenderError, Usage


@dataclass(frozen=True)
class Sample:
    """What was measured in one window, by the names that the results have.

    Attributes:
        turn: its place among all windows of its row.
    """

    figures: Mapping[str, float]
    turn: int = 0


def sample(
    responses: float,
    seconds: float,
    received_bytes: int,
    client_cpu_seconds: float,
    server: Usage,
    first_seconds: Sequence[float] = (),
) -> Sample:
    """The figures of what a load generator saw in a window, and of what the server used in it.

    Args:
        first_seconds: for each stream, the time from its request to its first response.
    """
    found = {
        "responses_per_second": responses / seconds,
        "bytes_per_response": received_bytes / responses,
        "megabytes_per_second": received_bytes / seconds / 1e6,
        "server_cpu_percent": 100 * server.cpu_seconds / seconds,
        "client_cpu_percent": 100 * client_cpu_seconds / seconds,
        "server_cpu_us_per_response": 1e6 * server.cpu_seconds / responses,
        "faults_per_response": server.minor_faults / responses,
    }
    if server.cpu_seconds:
        found["responses_per_cpu_second"] = responses / server.cpu_seconds
    if first_seconds:
        found["first_response_p50_ms"] = 1e3 * percentile(first_seconds, 50)
        found["first_response_p99_ms"] = 1e3 * percentile(first_seconds, 99)
    return Sample(found)


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that `percent` of all are not above."""
    ordered = sorted(values)
    return ordered[max(0, ceil(len(ordered) * percent / 100) - 1)]


@dataclass(frozen=True)
class Spread:
    """The median of several samples' figure, and how far they lie apart."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        return cls(median(values), min(values), max(values))


@dataclass(frozen=True)
class Ratio:
    """One contender's figure over another's, window beside window, so that a slow moment hits
    both."""

    of: str
    over: str
    figure: str
    spread: Spread
    target: str = ""
    met: bool | None = None
    missed_by: float | None = None


def spreads(samples: Sequence[Sample]) -> dict[str, Spread]:
    """Each figure's spread over the samples of one contender."""
    figures = [sample.figures for sample in samples]
    return {
        name: Spread.of([each[name] for each in figures])
        for name in figures[0]
        if all(name in each for each in figures)
    }


def ratio(
    samples: Mapping[str, Sequence[Sample]],
    of: str,
    over: str,
    figure: str = "responses_per_second",
    at_least: float | None = None,
    at_most: float | None = None,
    later: bool = False,
) -> Ratio:
    """The ratio of two contenders of one row, beside the target that it has, if any.

    Args:
        later: the difference, not the ratio.
    """
    found = [
        mine.figures[figure] - theirs.figures[figure]
        if later
        else mine.figures[figure] / (theirs.figures[figure] or 1.0)
        for mine, theirs in pairs(samples[of], samples[over])
    ]
    name = "first_later_ms" if later else figure
    return judged(of, over, name, Spread.of(found), at_least, at_most)


def pairs(some: Sequence[Sample], others: Sequence[Sample]) -> list[tuple[Sample, Sample]]:
    """Each window of the contender that has fewer, with the other's nearest to it."""
    if len(some) > len(others):
        return [(one, other) for other, one in pairs(others, some)]

    def nearest(one: Sample) -> Sample:
        return min(others, key=lambda other: abs(other.turn - one.turn))

    return [(one, nearest(one)) for one in some]


def judged(
    of: str,
    over: str,
    figure: str,
    spread: Spread,
    at_least: float | None = None,
    at_most: float | None = None,
) -> Ratio:
    """A ratio beside its target, and the part of the target by which it is missed."""
    if at_least is not None:
        missed = max(0.0, 1 - spread.median / at_least)
        return Ratio(of, over, figure, spread, f">= {at_least:g}", not missed, missed or None)
    if at_most is not None:
        missed = max(0.0, spread.median / at_most - 1)
        return Ratio(of, over, figure, spread, f"<= {at_most:g}", not missed, missed or None)
    return Ratio(of, over, figure, spread)


def alternate(
    rounds: int,
    contenders: Mapping[str, Callable[[], Sample]],
    fails: Callable[[str, ContenderError], None] | None = None,
    again: str = "",
) -> dict[str, list[Sample]]:
    """Measure the contenders in turn, `rounds` times: what disturbs the machine disturbs all.

    Args:
        fails: told of a contender that answers wrongly, which is then left out; it may raise.
        again: the one that the others are compared with, measured beside each of them.
    """
    samples: dict[str, list[Sample]] = {name: [] for name in contenders}
    turns = count()
    for _ in range(rounds):
        for name in in_turn(list(samples), again):
            if name not in samples:
                continue
            try:
                samples[name].append(replace(contenders[name](), turn=next(turns)))
            except ContenderError as error:
                if fails is None:
                    raise
                fails(name, error)
                del samples[name]
        next(turns)  # windows of one round are nearer to each other than to the next one's
    return samples


def in_turn(names: Sequence[str], again: str) -> list[str]:
    """One round: all once, and `again` so often that each other has it before or after it."""
    others = [name for name in names if name != again]
    if again not in names or len(others) < 2:
        return list(names)
    found = []
    for index in range(0, len(others), 2):
        found += [others[index], again, *others[index + 1 : index + 2]]
    return found
