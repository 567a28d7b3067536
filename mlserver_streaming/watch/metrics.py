"""The metrics of streams (WIRE.md), on MLServer's metrics port.

Labels `model_name`, `model_version` (empty where there is none) and `protocol`; no label ever holds
what a caller made up, so a caller cannot make these grow.
"""

import time
from bisect import bisect_left
from collections.abc import Callable, Sized
from typing import Any, Protocol

from prometheus_client import Counter, Gauge, Histogram

from ..settings import LimitSettings
from .adding import Observed, value_of

LABELS = ("model_name", "model_version", "protocol")
# From a token (1 ms) to a long job (minutes).
SECONDS = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0),
)
SHORTEST = SECONDS[0]
# Why a stream ended.
REASONS = (
    *("completed", "error", "client_disconnect", "cancelled", "deadline", "idle"),
    *("rejected", "drain"),
)


class HasCount(Protocol):
    """The requests that a stream reads, counted."""

    count: int


class StreamMetrics:
    """The collectors, made once a process."""

    def __init__(self) -> None:
        self._figures: dict[tuple[str, str, str], Figures] = {}
        self._live: set[MeasuredStream] = set()
        self.active = Gauge(
            "stream_active", "Streams at work now.", LABELS, multiprocess_mode="livesum"
        )
        self.first_response = Histogram(
            "stream_first_response_seconds",
            "From a stream's opening to its first response.",
            LABELS,
            buckets=SECONDS,
        )
        self.interval = Histogram(
            "stream_response_interval_seconds",
            "From one response of a stream to the next.",
            LABELS,
            buckets=SECONDS,
        )
        self.duration = Histogram(
            "stream_duration_seconds", "From opening to end.", LABELS, buckets=SECONDS
        )
        self.requests = Counter("stream_requests_total", "Requests read by models.", LABELS)
        self.responses = Counter("stream_responses_total", "Responses given by models.", LABELS)
        self.bytes = Counter(
            "stream_bytes_total",
            "Bytes of bodies and messages, uncompressed.",
            (*LABELS, "direction"),
        )
        self.request_errors = Counter(
            "stream_request_errors_total", "Requests that failed in a stream that went on.", LABELS
        )
        self.ended = Counter(
            "stream_terminated_total", "Streams that ended, and why.", (*LABELS, "reason")
        )
        self.sequences = Gauge(
            "sequences_active",
            "Live sequences.",
            ("model_name", "model_version"),
            multiprocess_mode="livesum",
        )

        self.slots_used = _gauge("stream_slots_used", "Calls that hold one of the slots for all.")
        self.slots_limit = _gauge("stream_slots_limit", "Calls at once: limits.streams.")
        self.waiting = _gauge("stream_waiting", "Requests that wait for a slot.")
        self.waiting_limit = _gauge("stream_waiting_limit", "How many may: limits.waiting.")
        self._model_slots_limit: Gauge | None = None

    def of(self, model: str, version: str | None, protocol: str) -> "Figures":
        """The collectors of one model over one protocol. The model must exist."""
        labels = (model, version or "", protocol)
        found = self._figures.get(labels)
        if found is None:
            found = self._figures[labels] = Figures(self, labels)
        return found

    def stream(
        self, model: str, version: str | None, protocol: str, requests: HasCount
    ) -> "MeasuredStream":
        """Begin to measure a stream."""
        stream = MeasuredStream(self.of(model, version, protocol), requests, self._live.discard)
        self._live.add(stream)
        return stream

    def hand_over(self) -> None:
        """Let the collectors know what running streams have done; a stream may run for days."""
        for stream in self._live:
            stream.hand_over()
        for figures in self._figures.values():
            figures.given.hand_over()

    def watch_sequences(self, model: str, version: str | None, sequences: Sized) -> None:
        """Let the gauge tell how many sequences of a model live."""
        self.sequences.labels(model, version or "").set_function(lambda: len(sequences))

    def watch_limits(
        self, limits: LimitSettings, used: Callable[[], int], waiting: Callable[[], int]
    ) -> None:
        """Let gauges tell how full the service is, beside what it may hold."""
        self.slots_used.set_function(used)
        self.waiting.set_function(waiting)
        self.slots_limit.set(limits.streams)
        self.waiting_limit.set(limits.waiting)
        if limits.streams_per_model is not None:
            if self._model_slots_limit is None:
                self._model_slots_limit = _gauge(
                    "stream_model_slots_limit",
                    "Streams at once to each model: limits.streams_per_model.",
                )
            self._model_slots_limit.set(limits.streams_per_model)

    def forget_sequences(self, model: str, version: str | None) -> None:
        """The model is gone."""
        self.sequences.remove(model, version or "")

    def expect_refusals(self, *protocols: str) -> None:
        """Begin to count the calls that are refused before they name a model."""
        for protocol in protocols:
            for reason in ("rejected", "drain"):
                self.ended.labels("", "", protocol, reason)

    def terminated(self, model: str, version: str | None, protocol: str, reason: str) -> None:
        """Count the end of a stream, or one that was refused."""
        self.ended.labels(model, version or "", protocol, reason).inc()


class Figures:
    """The collectors of one model over one protocol: looking one up costs as much as using it."""

    __slots__ = (
        "active",
        "duration",
        "ended",
        "errors",
        "first_response",
        "given",
        "received",
        "requests",
        "sent",
    )

    def __init__(self, metrics: StreamMetrics, labels: tuple[str, str, str]):
        self.active = value_of(metrics.active.labels(*labels))
        self.first_response = Observed(metrics.first_response.labels(*labels))
        self.given = Given(
            value_of(metrics.responses.labels(*labels)), Observed(metrics.interval.labels(*labels))
        )
        self.duration = Observed(metrics.duration.labels(*labels))
        self.requests = value_of(metrics.requests.labels(*labels))
        self.errors = value_of(metrics.request_errors.labels(*labels))
        self.received = value_of(metrics.bytes.labels(*labels, "in"))
        self.sent = value_of(metrics.bytes.labels(*labels, "out"))
        # From 0 on: Prometheus's rate() sees no growth in a counter whose first value is 1.
        self.ended = {reason: value_of(metrics.ended.labels(*labels, reason)) for reason in REASONS}


class Given:
    """The responses of all streams of one model, kept here and handed over now and then.

    To observe an interval takes two locks. Not observed of each stream, either: for a thousand
    that takes as long as a tenth of all their work, and to add them up here next to nothing.
    """

    __slots__ = ("_interval", "_responses", "counts", "firsts", "seconds")

    def __init__(self, responses: Any, interval: Observed):
        self._responses, self._interval = responses, interval
        # Not handed over yet: first responses; intervals before others, in each bucket, their sum.
        self.firsts = 0
        self.counts = [0] * (len(SECONDS) + 1)
        self.seconds = 0.0

    def hand_over(self) -> None:
        """Let the collectors know what has happened since the last time."""
        intervals = sum(self.counts)
        if given := self.firsts + intervals:
            self._responses.inc(given)
        if intervals:
            self._interval.observe_many(self.counts, self.seconds)
            self.counts = [0] * (len(SECONDS) + 1)
            self.seconds = 0.0
        self.firsts = 0


class MeasuredStream:
    """One stream's figures."""

    __slots__ = (
        "_figures",
        "_forget",
        "_given",
        "_last",
        "_last_told",
        "_opened",
        "_requests",
        "_requests_told",
        "_responses_told",
        "errors",
        "responses",
    )

    def __init__(
        self,
        figures: Figures,
        requests: HasCount,
        forget: Callable[["MeasuredStream"], None] = lambda stream: None,
    ):
        self._figures, self._given = figures, figures.given
        self._requests = requests
        self._forget = forget
        self._opened = self._last = self._last_told = time.perf_counter()
        self._requests_told = self._responses_told = 0
        self.errors = self.responses = 0
        figures.active.inc(1)

    def responded(self) -> bool:
        """A response was given; whether it is the first."""
        now = time.perf_counter()
        interval = now - self._last
        self._last = now
        self.responses = responses = self.responses + 1
        if responses == 1:
            self._given.firsts += 1
            self._figures.first_response.observe(interval)
            self._last_told, self._responses_told = now, 1
            return True
        # The shortest, in streams that never wait nearly all, are told by what the others leave.
        if interval > SHORTEST:
            given = self._given
            given.counts[bisect_left(SECONDS, interval)] += 1
            given.seconds += interval
            self._last_told += interval
            self._responses_told += 1
        return False

    def failed(self) -> None:
        """One of its requests failed, and the stream goes on."""
        self.errors += 1
        self._figures.errors.inc(1)

    def hand_over(self) -> None:
        """Count the requests that were read since the last time, and the responses given."""
        if responses := self.responses - self._responses_told:
            given = self._given
            given.counts[0] += responses
            given.seconds += self._last - self._last_told
            self._last_told, self._responses_told = self._last, self.responses
        if read := self._requests.count - self._requests_told:
            self._requests_told += read
            self._figures.requests.inc(read)

    def ended(self, reason: str) -> float:
        """Hand the rest over; the stream's seconds."""
        seconds = time.perf_counter() - self._opened
        self._forget(self)
        self.hand_over()
        figures = self._figures
        figures.given.hand_over()
        figures.active.inc(-1)
        figures.duration.observe(seconds)
        figures.ended[reason].inc(1)
        return seconds


def _gauge(name: str, text: str) -> Gauge:
    """One of this process's own, without labels."""
    return Gauge(name, text, multiprocess_mode="livesum")
