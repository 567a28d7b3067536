"""Asks a service for its health 50 times a second over REST and gRPC, from a process of its own.

`python -m tests.silence.watch HTTP_PORT GRPC_PORT PID`: each line that it reads begins a watch, and
is answered with a line of JSON about the one before: the longest silence of both edges in
seconds, an answer that is still out included; the same without what both processes waited for a
core, which is other programs' doing; and how often no answer came.
"""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import grpc

PERIOD_SECONDS = 0.02
# An edge that is silent for longer is asked again on another connection.
PATIENCE_SECONDS = 300.0


@dataclass(frozen=True)
class Silence:
    """What one watch saw.

    Attributes:
        longest, own: seconds; `own` is the longest that is the service's.
        failed: how often no answer came.
    """

    longest: float
    own: float
    failed: int


class Watch:
    """Asks while it is open."""

    def __init__(self, http_port: int, grpc_port: int, pid: int):
        """
        Args:
            grpc_port: 0 where only REST is asked.
        """
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.silence.watch", *map(str, (http_port, grpc_port, pid))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def seen(self) -> Silence:
        """What was seen since this was asked last."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None and stdout is not None
        stdin.write("\n")
        stdin.flush()
        return Silence(**json.loads(stdout.readline()))

    def __enter__(self) -> Watch:
        self.seen()  # it asks now
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()


class Watched:
    """One edge: how long its answers took since the watch began."""

    def __init__(self, ask: Callable[[], None], pid: int):
        self._ask, self._pid = ask, pid
        self._longest = self._own = 0.0
        self._failed = 0
        self._asked: float | None = None
        self._lock = threading.Lock()
        threading.Thread(target=self._run, daemon=True).start()

    def seen(self) -> Silence:
        """The watch that ends here; another begins."""
        with self._lock:
            out = time.perf_counter() - self._asked if self._asked is not None else 0.0
            found = Silence(max(self._longest, out), max(self._own, out), self._failed)
            self._longest = self._own = 0.0
            self._failed = 0
            return found

    def _run(self) -> None:
        while True:
            before, begun = self._waited(), time.perf_counter()
            with self._lock:
                self._asked = begun
            try:
                self._ask()
            except (OSError, http.client.HTTPException, grpc.RpcError):
                self._failed += 1
                time.sleep(PERIOD_SECONDS)
            took, after = time.perf_counter() - begun, self._waited()
            # Of the service's threads the one that waited longest: they hand an answer on.
            theirs = max(after[t] - before.get(t, 0.0) for t in after if t)
            own = took - theirs - (after[0] - before[0])
            with self._lock:
                self._longest, self._own = max(self._longest, took), max(self._own, own)
                self._asked = None
            time.sleep(max(0.0, PERIOD_SECONDS - took))

    def _waited(self) -> dict[int, float]:
        """Seconds that this thread (0) and each of the service's have waited for a core so far."""
        found = {0: waited(os.getpid(), threading.get_native_id()), self._pid: 0.0}
        with suppress(OSError):
            threads = map(int, os.listdir(f"/proc/{self._pid}/task"))
            found |= {thread: waited(self._pid, thread) for thread in threads}
        return found


def waited(pid: int, thread: int) -> float:
    """Seconds that a thread was ready and did not run; 0 where the kernel does not count them.

    https://docs.kernel.org/scheduler/sched-stats.html
    """
    try:
        return int(Path(f"/proc/{pid}/task/{thread}/schedstat").read_text().split()[1]) / 1e9
    except (OSError, IndexError):
        return 0.0


def over_rest(port: int) -> Callable[[], None]:
    """Ask the REST edge whether it is live, on one connection."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS)

    def ask() -> None:
        try:
            connection.request("GET", "/v2/health/live")
            connection.getresponse().read()
        except (OSError, http.client.HTTPException):
            connection.close()
            raise

    return ask


def over_grpc(port: int) -> Callable[[], None]:
    """Ask the gRPC edge whether it is live."""
    channel = grpc.insecure_channel(f"127.0.0.1:{port}")
    live: Any = channel.unary_unary("/inference.GRPCInferenceService/ServerLive")
    return lambda: live(b"", timeout=PATIENCE_SECONDS) and None


def main() -> None:
    http_port, grpc_port, pid = map(int, sys.argv[1:])
    edges = [Watched(over_rest(http_port), pid)]
    if grpc_port:
        edges.append(Watched(over_grpc(grpc_port), pid))
    for _ in sys.stdin:
        seen = [edge.seen() for edge in edges]
        longest, own = max(each.longest for each in seen), max(each.own for each in seen)
        failed = sum(each.failed for each in seen)
        print(json.dumps(asdict(Silence(longest, own, failed))), flush=True)


if __name__ == "__main__":
    main()
