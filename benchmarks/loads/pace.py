"""Real time, without a clock: when items are due, how late they came, how many fit. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from .samples import percentile

# Two neighbouring counts of streams that differ by less are one answer.
RESOLUTION = 0.1
MAX_ERROR = 200
Anchor = Literal["request", "first"]


@dataclass(frozen=True)
class Pace:
    """`streams` streams whose items are due `rate` times a second for `seconds`.

    Attributes:
        ramp: seconds over which the streams begin, so that they do not all ask at once.
    """

    streams: int
    rate: float
    seconds: float
    ramp: float

    def begin(self, stream: int) -> float:
        """Seconds from the start to the stream's first item."""
        return self.ramp * stream / self.streams

    def due(self, stream: int, index: int) -> float:
        """Seconds from the start to when an item is due."""
        return self.begin(stream) + index / self.rate

    def items(self, stream: int) -> int:
        """How many of a stream's items are due before the end."""
        return int((self.seconds - self.begin(stream)) * self.rate) + 1


@dataclass
class StreamLog:
    """What became of one stream's items, by seconds from the start.

    Attributes:
        late: seconds that each answered item was late; early is 0.
        first: seconds from each request to its first answer, where an answer is a stream.
        errors: how often each came.
    """

    late: list[float] = field(default_factory=list)
    first: list[float] = field(default_factory=list)
    answered: int = 0
    missing: int = 0
    errors: Counter[str] = field(default_factory=Counter)

    def answer(self, due: float, at: float) -> None:
        self.answered += 1
        self.late.append(max(0.0, at - due))

    def miss(self, due: float, end: float) -> None:
        """An item that was due and had not come by the end: at least so late."""
        self.missing += 1
        self.late.append(max(0.0, end - due))

    def fail(self, text: str) -> None:
        self.errors[" ".join(text.split())[:MAX_ERROR] or "an error without a text"] += 1


class TokenClock:
    """When the tokens of one answer are due: from its request on, or from its first token on.

    From the first on is how a reader or a voice experiences it; the wait for the first is
    reported beside it.
    """

    def __init__(self, log: StreamLog, rate: float, asked: float, anchor: Anchor):
        self._log, self._rate, self._asked, self._anchor = log, rate, asked, anchor
        self._from = asked
        self._count = 0

    def token(self, at: float) -> None:
        """A token came."""
        if not self._count:
            self._log.first.append(at - self._asked)
            if self._anchor == "first":
                self._from = at
        self._log.answer(self._from + self._count / self._rate, at)
        self._count += 1

    def cut(self, end: float) -> None:
        """The watching ends before the answer does: what was due by now is missing."""
        while (due := self._from + self._count / self._rate) < end:
            self._log.miss(due, end)
            self._count += 1
            if self._anchor == "first" and not self._log.answered:
                break  # without a first token nothing is known of the others


@dataclass(frozen=True)
class Paced:
    """What one run of paced streams saw; times in seconds.

    Attributes:
        sent_late_p99: how late the client itself was; near the lateness, it measures the client.
        errors: how often each error came.
    """

    streams: int
    rate: float
    seconds: float
    answered: int
    missing: int
    late_p50: float
    late_p99: float
    late_max: float
    first_p50: float | None
    first_p99: float | None
    sent_late_p99: float
    client_cpu: float
    errors: dict[str, int]

    @classmethod
    def of(
        cls, pace: Pace, logs: Sequence[StreamLog], sent_late: Sequence[float], client_cpu: float
    ) -> Paced:
        late = [second for log in logs for second in log.late] or [pace.seconds]
        first = [second for log in logs for second in log.first]
        return cls(
            pace.streams,
            pace.rate,
            pace.seconds,
            sum(log.answered for log in logs),
            sum(log.missing for log in logs),
            percentile(late, 50),
            percentile(late, 99),
            max(late),
            percentile(first, 50) if first else None,
            percentile(first, 99) if first else None,
            percentile(sent_late, 99) if sent_late else 0.0,
            client_cpu,
            dict(sum((log.errors for log in logs), Counter[str]())),
        )

    def fits(self, limit: float) -> bool:
        """Whether the server kept up: nothing failed, and p99 lateness is within `limit`."""
        return not self.errors and self.late_p99 <= limit


async def find_most(fits: Callable[[int], Awaitable[bool]], start: int, most: int) -> int:
    """The most streams that fit, to within a tenth; 0 where not even one does.

    Doubles until they do not fit, then halves the gap.

    Args:
        start: the first count to try.
        most: never try more.
    """
    low, high = 0, min(start, most)
    while await fits(high):
        low = high
        if low == most:
            return low
        high = min(2 * high, most)
    while high - low > max(1, int(RESOLUTION * low)):
        middle = (low + high) // 2
        if await fits(middle):
            low = middle
        else:
            high = middle
    return low
