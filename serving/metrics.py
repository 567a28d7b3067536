"""The metrics of streams (WIRE.md), on MLServer's metrics port.

Labels `model_name`, `model_version` (empty where there is none) and `protocol`; no label ever holds
what a caller made up, so a caller cannot make these grow.
"""

import time
from bisect import bisect_left
from collections.abc import Sized
from typing import Any

from prometheus_client import Counter, Gauge, Histogram

LABELS = ("model_name", "model_version", "protocol")
# From a token (1 ms) to a long job (minutes).
SECONDS = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0),
)
# Why a stream ended.
REASONS = ("completed", "error", "client_disconnect", "deadline", "idle", "rejected", "drain")


class StreamMetrics:
    """The collectors, made once a process."""

    def __init__(self) -> None:
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
            "stream_bytes_total", "Bytes of bodies and messages.", (*LABELS, "direction")
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

    def stream(self, model: str, version: str, protocol: str) -> "MeasuredStream":
        """Begin to measure a stream."""
        return MeasuredStream(self, (model, version, protocol))

    def watch_sequences(self, model: str, version: str, sequences: Sized) -> None:
        """Let the gauge tell how many sequences of a model live."""
        self.sequences.labels(model, version).set_function(lambda: len(sequences))

    def byte_counter(self, model: str, version: str | None, protocol: str, way: str) -> Any:
        """The counter of a model's bytes over a protocol, `in` or `out`."""
        return self.bytes.labels(model, version or "", protocol, way)

    def terminated(self, model: str, version: str, protocol: str, reason: str) -> None:
        """Count the end of a stream, or one that was refused."""
        self.ended.labels(model, version, protocol, reason).inc()


class MeasuredStream:
    """One stream's figures, kept here while it runs and handed over at its end.

    A response costs a clock reading and a search in a tuple; the collectors' own `observe` takes
    a lock and looks at each bucket in turn.
    """

    __slots__ = (
        "_counts",
        "_labels",
        "_last",
        "_metrics",
        "_opened",
        "_total",
        "errors",
        "first",
        "requests",
        "responses",
    )

    def __init__(self, metrics: StreamMetrics, labels: tuple[str, str, str]):
        self._metrics = metrics
        self._labels = labels
        self._opened = self._last = time.perf_counter()
        self._counts = [0] * (len(SECONDS) + 1)
        self._total = 0.0
        self.first: float | None = None
        self.requests = self.responses = self.errors = 0
        metrics.active.labels(*labels).inc()

    def responded(self) -> None:
        """A response was given."""
        now = time.perf_counter()
        self.responses += 1
        interval = now - self._last
        self._last = now
        if self.first is None:
            self.first = interval
        else:
            self._counts[bisect_left(SECONDS, interval)] += 1
            self._total += interval

    def ended(self, reason: str) -> float:
        """Hand the figures over; the stream's seconds."""
        metrics, labels = self._metrics, self._labels
        seconds = time.perf_counter() - self._opened
        metrics.active.labels(*labels).dec()
        metrics.duration.labels(*labels).observe(seconds)
        if self.first is not None:
            metrics.first_response.labels(*labels).observe(self.first)
        metrics.requests.labels(*labels).inc(self.requests)
        metrics.responses.labels(*labels).inc(self.responses)
        metrics.request_errors.labels(*labels).inc(self.errors)
        metrics.terminated(*labels, reason)
        self._observe_intervals(metrics.interval.labels(*labels))
        return seconds

    def _observe_intervals(self, histogram: Any) -> None:
        # The client library observes one value at a time only; this is its own addition, in bulk.
        histogram._sum.inc(self._total)
        for bucket, count in zip(histogram._buckets, self._counts, strict=True):
            if count:
                bucket.inc(count)
