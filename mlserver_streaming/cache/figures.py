"""The metrics of the cache, on MLServer's metrics port. No label holds what a caller made up."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import Counter, Gauge, Histogram

from ..watch.statistics import Duration
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


class ModelFigures:
    """The collectors of one model: looking one up costs more than using it.

    Attributes:
        hits: for Triton's statistics, requests that the model was not asked for, to their ends.
        misses: those that it was, as long as they were looked for.
    """

    def __init__(self, requests: Counter, stores: Counter, labels: tuple[str, str]) -> None:
        # From 0 on: Prometheus's rate() sees no growth in a counter whose first value is 1.
        self.ways = {way: requests.labels(*labels, way) for way in (HIT, JOINED, MISS)}
        self.stores = stores.labels(*labels)
        self.hits, self.misses = Duration(), Duration()


class CacheFigures:
    """The collectors, made once a process."""

    def __init__(self) -> None:
        self._requests = Counter(
            "cache_requests_total",
            "Requests to models that use the cache, and how their answers came.",
            (*MODEL, "way"),
        )
        self._stores = Counter("cache_stores_total", "Answers that were stored.", MODEL)
        self._models: dict[tuple[str, str], ModelFigures] = {}
        bytes_ = Counter(
            "cache_backend_bytes_total",
            "Bytes of answers, read from the backend and stored in it.",
            ("operation",),
        )
        errors = Counter(
            "cache_backend_errors_total", "What went wrong with the backend.", ("reason",)
        )
        seconds = Histogram(
            "cache_backend_seconds", "Waits for the backend.", ("operation",), buckets=SECONDS
        )
        self._held = Gauge(
            "cache_bytes", "Bytes that this process remembers.", multiprocess_mode="livesum"
        )
        self._bytes = {each: bytes_.labels(each) for each in (GET, PUT)}
        self._errors = {reason: errors.labels(reason) for reason in REASONS}
        self._seconds = {each: seconds.labels(each) for each in (GET, PUT)}

    def hold(self, bytes: Callable[[], int]) -> None:
        """Show how much a store in this process holds."""
        self._held.set_function(bytes)

    def of(self, model: str, version: str | None) -> ModelFigures:
        """The collectors of one model. The model must exist."""
        labels = model, version or ""
        found = self._models.get(labels)
        if found is None:
            found = self._models[labels] = ModelFigures(self._requests, self._stores, labels)
        return found

    def waited(self, operation: str, seconds: float, bytes: int = 0) -> None:
        """Somebody waited for the backend, and these bytes were read or stored."""
        self._seconds[operation].observe(seconds)
        if bytes:
            self._bytes[operation].inc(bytes)

    def failed(self, reason: str) -> None:
        self._errors[reason].inc()
