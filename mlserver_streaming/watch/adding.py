"""Prometheus's collectors as a call adds to them: looked up once, and without the library's checks.

Each `inc` and `observe` of theirs looks whether the collector has labels, whether the amount is
positive, whether there is an exemplar, and at one bucket after another; a small call makes ten of
them. What is left is its own addition, lock and all.
"""

from bisect import bisect_left
from typing import Any


def value_of(child: Any) -> Any:
    """What a counter or gauge, its labels given, adds to: `inc(amount)`."""
    return child._value


class Observed:
    """A histogram or summary, its labels given."""

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, child: Any):
        self._sum = child._sum
        # A summary is a histogram with one bucket.
        self._bounds: list[float] = getattr(child, "_upper_bounds", [])
        self._counts: list[Any] = getattr(child, "_buckets", None) or [child._count]

    def observe(self, value: float) -> None:
        self._sum.inc(value)
        self._counts[bisect_left(self._bounds, value)].inc(1)

    def observe_many(self, counts: list[int], total: float) -> None:
        """So many values in each bucket, and their sum."""
        self._sum.inc(total)
        for bucket, count in zip(self._counts, counts, strict=True):
            if count:
                bucket.inc(count)
