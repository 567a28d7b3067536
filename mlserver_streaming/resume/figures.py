"""The metrics of streams that outlive their connections, on MLServer's metrics port."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

from prometheus_client import Counter, Gauge, Histogram

# Why a stream was given up before its time: nobody read it, or there was no room for all.
UNREAD, ROOM = "unread", "room"
# What the store is asked.
READ, WRITE = "read", "write"
# From a server beside this one to one that is given up.
SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
# What can go wrong with the store: it is slow, it cannot be reached or breaks off, as much is asked
# of it as may be, it takes no more, it refuses (a password, a right), it holds what is not ours.
TIMEOUT, CONNECTION, BUSY, FULL, REFUSED, MALFORMED = (
    *("timeout", "connection", "busy", "full"),
    *("refused", "malformed"),
)
REASONS = (TIMEOUT, CONNECTION, BUSY, FULL, REFUSED, MALFORMED)


class ResumeFigures:
    """The collectors, made once a process."""

    def __init__(self) -> None:
        self._streams = Gauge(
            "resume_streams",
            "Resumable streams that run or are kept.",
            multiprocess_mode="livesum",
        )
        self._bytes = Gauge(
            "resume_bytes", "Bytes that they hold, about.", multiprocess_mode="livesum"
        )
        self.came_back = Counter("resume_readers_total", "Readers that came back to a stream.")
        dropped = Counter(
            "resume_dropped_total", "Streams that were given up before their time.", ("reason",)
        )
        # From 0 on: Prometheus's rate() sees no growth in a counter whose first value is 1.
        self.dropped = {reason: dropped.labels(reason) for reason in (UNREAD, ROOM)}

    @cached_property
    def store(self) -> StoreFigures:
        """Those of the store, which are there where it is."""
        return StoreFigures()

    def hold(self, streams: Callable[[], int], bytes: Callable[[], int]) -> None:
        """Show how many streams there are, and what they hold."""
        self._streams.set_function(streams)
        self._bytes.set_function(bytes)


class StoreFigures:
    """The collectors of the store that all instances share.

    Attributes:
        taken_over: runs that began at another instance and go on here.
        handed_over: runs that another may go on with, since this one stops.
        lost: readers that were told that nobody can go on with their stream.
    """

    def __init__(self) -> None:
        self._up = Gauge(
            "resume_store_up",
            "Whether the store of resumable streams answers.",
            multiprocess_mode="livemin",
        )
        errors = Counter(
            "resume_store_errors_total", "What went wrong with the store.", ("reason",)
        )
        seconds = Histogram(
            "resume_store_seconds", "Waits for the store.", ("operation",), buckets=SECONDS
        )
        bytes_ = Counter(
            "resume_store_bytes_total", "Bytes of streams, written and read.", ("operation",)
        )
        self.taken_over = Counter(
            "resume_taken_over_total", "Streams of other instances that go on here."
        )
        self.handed_over = Counter(
            "resume_handed_over_total", "Streams of this instance that others may go on with."
        )
        self.lost = Counter(
            "resume_lost_total", "Readers whose stream was lost with another instance."
        )
        self._errors = {reason: errors.labels(reason) for reason in REASONS}
        self._seconds = {each: seconds.labels(each) for each in (READ, WRITE)}
        self._bytes = {each: bytes_.labels(each) for each in (READ, WRITE)}

    def is_up(self, up: bool) -> None:
        self._up.set(up)

    def waited(self, operation: str, seconds: float) -> None:
        self._seconds[operation].observe(seconds)

    def moved(self, operation: str, bytes: int) -> None:
        self._bytes[operation].inc(bytes)

    def failed(self, reason: str) -> None:
        self._errors[reason].inc()
