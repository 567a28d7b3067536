"""What each model did since the service started: MLServer's own metrics of a model, and Triton's
statistics.

Every call of every wire comes by here once, so what is counted is looked up once a model.
"""

import time
from dataclasses import dataclass, field
from typing import Any

# A stream that is over so soon behind its first response, and has no other, is brief.
BRIEF_SECONDS = 0.0005


@dataclass(slots=True)
class Duration:
    """How many there were of something, and how long they took together.

    Attributes:
        ns: nanoseconds.
    """

    count: int = 0
    ns: int = 0

    def add(self, ns: int, count: int = 1) -> None:
        self.count += count
        self.ns += ns


@dataclass(slots=True)
class Served:
    """One model's figures.

    A stream of several requests took its time for all of them alike: when the work for one begins
    and ends within it, only the model knows.

    Attributes:
        duration, success, failure: MLServer's collectors, of calls.
        successes, failures: requests.
        success_ns, failure_ns: how long they took, all in all.
        queue_ns: how long they had waited for a slot before that.
        input_ns, output_ns: how long their messages took to be read, and those of unary answers to
            be written. A stream's responses are written while its model works.
        batches: runs of the model over several requests as one, by their rows; of a model that
            takes its requests one by one there are none.
        last_ms: when the last call ended, in milliseconds since 1970; 0 where there was none.
        is_brief: whether the last stream was. Then the next takes no turn of the event loop between
            its first response and what follows: for one that is over, a turn is a tenth of its
            cost. One that is not takes it with its second response.
    """

    duration: Any
    success: Any
    failure: Any
    successes: int = field(default=0, init=False)
    success_ns: int = field(default=0, init=False)
    failures: int = field(default=0, init=False)
    failure_ns: int = field(default=0, init=False)
    queue_ns: int = field(default=0, init=False)
    input_ns: int = field(default=0, init=False)
    output_ns: int = field(default=0, init=False)
    batches: dict[int, Duration] = field(default_factory=dict, init=False)
    last_ms: int = field(default=0, init=False)
    is_brief: bool = field(default=False, init=False)

    def count(self, took_ns: int, requests: int, failed: int) -> None:
        """Count a call that is over.

        Args:
            requests: how many the model has read; one that never got to it counts too.
            failed: how many of them failed; a call that was given up has failed its last one.
        """
        requests = max(1, requests)
        failed = min(requests, failed)
        failed_ns = took_ns * failed // requests
        self.failures += failed
        self.failure_ns += failed_ns
        self.successes += requests - failed
        self.success_ns += took_ns - failed_ns
        self.last_ms = time.time_ns() // 1_000_000

    def learn(self, has_more: bool, since: float) -> None:
        """A stream is over.

        Args:
            has_more: whether it had more than one response.
            since: when it had the first, by `time.monotonic`.
        """
        self.is_brief = not has_more and time.monotonic() - since < BRIEF_SECONDS
