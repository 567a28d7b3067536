"""What a measured window saw, and medians of several. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from math import ceil
from statistics import median
from typing import Any

from ..contenders.process import ContenderError


@dataclass(frozen=True)
class Sample:
    """What was measured in one window, by the names that the results have.

    Attributes:
        turn: its place among all windows of its row.
        runs: of paced streams, every run that was tried.
    """

    figures: Mapping[str, float]
    turn: int = 0
    runs: Sequence[Any] = ()


def sample(
    responses: float,
    seconds: float,
    received_bytes: int,
    client_cpu: float,
    server_cpu: float,
    first_seconds: Sequence[float] = (),
) -> Sample:
    """The figures of what a load generator saw in a window.

    Args:
        client_cpu, server_cpu: seconds of CPU that they used in it.
        first_seconds: for each stream, the time from its request to its first response.
    """
    found = {
        "responses_per_second": responses / seconds,
        "bytes_per_response": received_bytes / responses,
        "server_cpu_percent": 100 * server_cpu / seconds,
        "client_cpu_percent": 100 * client_cpu / seconds,
        "server_cpu_us_per_response": 1e6 * server_cpu / responses,
    }
    if server_cpu:
        found["responses_per_cpu_second"] = responses / server_cpu
    if first_seconds:
        found["first_response_p50_ms"] = 1e3 * percentile(first_seconds, 50)
        found["first_response_p99_ms"] = 1e3 * percentile(first_seconds, 99)
    return Sample(found)


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that `percent` of all are not above."""
    ordered = sorted(values)
    return ordered[max(0, ceil(len(ordered) * percent / 100) - 1)]


def medians(samples: Sequence[Sample]) -> dict[str, float]:
    """Of one contender, of each figure that all its windows have."""
    names = set.intersection(*(set(sample.figures) for sample in samples))
    return {
        name: median(sample.figures[name] for sample in samples)
        for name in samples[0].figures
        if name in names
    }


@dataclass(frozen=True)
class Target:
    """What is asked of a contender beside another; without a bound the ratio is only shown.

    Attributes:
        over: empty where the figure itself counts.
    """

    over: str
    at_least: float | None = None
    at_most: float | None = None
    figure: str = "responses_per_second"
    of: str = "ours"


@dataclass(frozen=True)
class Spread:
    """The median of the rounds, the lowest and the highest of them."""

    median: float
    low: float
    high: float


@dataclass(frozen=True)
class Ratio:
    """One contender's figure over another's, window beside window, so that a slow moment hits
    both; the target, and the part of it by which it is missed."""

    of: str
    over: str
    figure: str
    spread: Spread
    target: str = ""
    met: bool | None = None
    missed_by: float | None = None


def ratio(samples: Mapping[str, Sequence[Sample]], asked: Target) -> Ratio:
    """The ratio of two contenders of one row, beside its target."""
    name = asked.figure
    if not asked.over:
        return judged(asked, [each.figures[name] for each in samples[asked.of]])
    both = [
        (mine.figures[name], theirs.figures[name])
        for mine, theirs in pairs(samples[asked.of], samples[asked.over])
    ]
    return judged(asked, [mine / (theirs or 1.0) for mine, theirs in both])


def pairs(some: Sequence[Sample], others: Sequence[Sample]) -> list[tuple[Sample, Sample]]:
    """Each window of the contender that has fewer, with the other's nearest to it."""
    if len(some) > len(others):
        return [(one, other) for other, one in pairs(others, some)]
    return [(one, min(others, key=lambda each: abs(each.turn - one.turn))) for one in some]


def judged(asked: Target, values: Sequence[float]) -> Ratio:
    """Ratios beside their target."""
    spread = Spread(median(values), min(values), max(values))
    words, missed = "", 0.0
    if asked.at_least is not None:
        words, missed = f">= {asked.at_least:g}", 1 - spread.median / asked.at_least
    elif asked.at_most is not None:
        words, missed = f"<= {asked.at_most:g}", spread.median / asked.at_most - 1
    met = missed <= 0 if words else None
    missed_by = missed if met is False else None
    return Ratio(asked.of, asked.over, asked.figure, spread, words, met, missed_by)


def alternate(
    rounds: int,
    contenders: Mapping[str, Callable[[], Sample]],
    again: str,
    fails: Callable[[str, ContenderError], None],
) -> dict[str, list[Sample]]:
    """Measure the contenders in turn, `rounds` times: what disturbs the machine disturbs all.

    Args:
        again: the one that the others are compared with, measured beside each of them.
        fails: told of a contender that answers wrongly, which is then left out; it may raise.
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
