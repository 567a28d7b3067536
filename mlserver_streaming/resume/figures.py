"""The metrics of streams that outlive their connections, on MLServer's metrics port."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import Counter, Gauge

# Why a stream was given up before its time: nobody read it, or there was no room for all.
UNREAD, ROOM = "unread", "room"


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

    def hold(self, streams: Callable[[], int], bytes: Callable[[], int]) -> None:
        """Show how many streams there are, and what they hold."""
        self._streams.set_function(streams)
        self._bytes.set_function(bytes)
