"""The metrics of the cache, on MLServer's metrics port. No label holds what a caller made up."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter

from prometheus_client import Counter, Gauge, Histogram

from .answer import HIT, JOINED, MISS

MODEL = ("model_name", "model_version")
# From a look into a table to a server that is given up.
SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
GET, PUT = "get", "put"
# What can go wrong with a backend: it is slow, it cannot be reached or breaks off, as much is asked
# of it as may be, it refuses a value, it gives something that is no recording.
TIMEOUT, CONNECTION, BUSY, REFUSED, MALFORMED = (
    *("timeout", "connection", "busy", "refused"),
    "malformed",
)
REASONS = (TIMEOUT, CONNECTION, BUSY, REFUSED, MALFORMED)


class CacheFigures:
    """The collectors, made once a process."""

    def __init__(self) -> None:
        self._requests = Counter(
            "cache_requests_total",
            "Requests to models that use the cache, and how their answers came.",
            (*MODEL, "way"),
        )
        self._stores = Counter("cache_stores_total", "Answers that were stored.", MODEL)
        self._bytes = Counter(
            "cache_backend_bytes_total",
            "Bytes of answers, read from the backend and stored in it.",
            ("operation",),
        )
        self._errors = Counter(
            "cache_backend_errors_total", "What went wrong with the backend.", ("reason",)
        )
        self._seconds = Histogram(
            "cache_backend_seconds", "Waits for the backend.", ("operation",), buckets=SECONDS
        )
        self._held = Gauge(
            "cache_bytes", "Bytes that this process remembers.", multiprocess_mode="livesum"
        )
        # From 0 on: Prometheus's rate() sees no growth in a counter whose first value is 1.
        self.read, self.stored = self._bytes.labels(GET), self._bytes.labels(PUT)
        self._get, self._put = self._seconds.labels(GET), self._seconds.labels(PUT)
        for reason in REASONS:
            self._errors.labels(reason)

    def hold(self, bytes: Callable[[], int]) -> None:
        """Show how much a store in this process holds."""
        self._held.set_function(bytes)

    def asked(self, model: str, version: str | None, way: str) -> None:
        """A request was answered in one of the ways."""
        labels = (model, version or "")
        if way == MISS:
            for each in (HIT, JOINED):
                self._requests.labels(*labels, each)
            self._stores.labels(*labels)
        self._requests.labels(*labels, way).inc()

    def put(self, model: str, version: str | None, bytes: int) -> None:
        """An answer was stored."""
        self._stores.labels(model, version or "").inc()
        self.stored.inc(bytes)

    def failed(self, reason: str) -> None:
        self._errors.labels(reason).inc()

    @contextmanager
    def waiting(self, operation: str) -> Iterator[None]:
        """Time a look into the backend, or a store."""
        started = perf_counter()
        try:
            yield
        finally:
            (self._get if operation == GET else self._put).observe(perf_counter() - started)
