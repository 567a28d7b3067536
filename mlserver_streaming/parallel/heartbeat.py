"""Whether a worker's process still runs, whatever its models do.

A thread in the worker beats into a pipe: Python code lets it, for as long as that takes. A process
that is stopped, or that C code holds without ever giving Python's lock back, does not beat.
"""

import os
import threading
import time
from contextlib import suppress
from multiprocessing.connection import Connection

# Beats in the time after which none is one too few.
BEATS = 8
# What the service counts between two looks, at most: while it stands still itself, nothing can be
# said of the worker.
MOST_SECONDS = 0.5
READ_BYTES = 4096


def beat(pipe: Connection, seconds: float) -> None:
    """Beat from a thread until this process, or the service, ends.

    Args:
        seconds: of silence that the service allows.
    """
    descriptor = pipe.fileno()
    os.set_inheritable(descriptor, False)
    os.set_blocking(descriptor, False)

    def beating() -> None:
        with suppress(BrokenPipeError), pipe:
            while True:
                with suppress(BlockingIOError):  # the service has not looked for long
                    os.write(descriptor, b".")
                time.sleep(seconds / BEATS)

    threading.Thread(target=beating, name="heartbeat", daemon=True).start()


class Heartbeat:
    """The service's end: how long a worker has been silent."""

    def __init__(self, pipe: Connection, seconds: float | None):
        """
        Args:
            seconds: of silence that are allowed; None for any.
        """
        os.set_blocking(pipe.fileno(), False)
        self._pipe = pipe
        self._seconds = seconds
        self._silence: float | None = None  # until it has begun to beat
        self._looked = 0.0

    def has_stopped(self, now: float, excused: bool) -> bool:
        """Whether the worker has been silent for too long; asked again and again.

        Args:
            now: seconds, monotonic.
            excused: whether it may be silent now.
        """
        passed, self._looked = min(now - self._looked, MOST_SECONDS), now
        if self._heard() or (excused and self._silence is not None):
            self._silence = 0.0
        elif self._silence is not None:
            self._silence += passed
        if self._seconds is None or self._silence is None:
            return False
        return self._silence >= self._seconds

    def close(self) -> None:
        self._pipe.close()

    def _heard(self) -> bool:
        try:
            return not self._pipe.closed and bool(os.read(self._pipe.fileno(), READ_BYTES))
        except BlockingIOError:
            return False
