"""How long health is unanswered: asked 50 times a second from a process of its own.

`python -m tests.fuzz.silence PORT PID` asks until its input ends, then prints two numbers of
seconds: the longest silence as it was, and the longest without the time in which the service, and
the asking, waited for a processor that others had.
"""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
import time
from pathlib import Path

EVERY_SECONDS = 0.02
REQUEST = b"GET /v2/health/ready HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Silence:
    """Asks while it is open.

    Attributes:
        longest, own: seconds, once it is closed; `own` is the longest that is the service's.
    """

    def __init__(self, port: int, pid: int):
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.fuzz.silence", str(port), str(pid)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.longest = self.own = 0.0

    def __enter__(self) -> Silence:
        return self

    def __exit__(self, *exception: object) -> None:
        said, _ = self._process.communicate()
        self.longest, self.own = map(float, said.split())


def ask(port: int, pid: int) -> tuple[float, float]:
    longest = own = 0.0
    with socket.create_connection(("127.0.0.1", port)) as connection:
        due = time.monotonic()
        while not select.select([sys.stdin], [], [], max(0.0, due - time.monotonic()))[0]:
            asked, waited = time.monotonic(), kept_waiting(pid)
            connection.sendall(REQUEST)
            answer = b""
            while not answer.endswith(b"\r\n\r\n"):
                part = connection.recv(4096)
                if not part:
                    raise SystemExit("The service has closed the connection.")
                answer += part
            now = time.monotonic()
            longest = max(longest, now - asked)
            own = max(own, now - asked - (kept_waiting(pid) - waited))
            due = max(due + EVERY_SECONDS, now)
    return longest, own


def kept_waiting(pid: int) -> float:
    """Seconds for which a process's main thread, and this one, have waited for a processor (Linux:
    Documentation/scheduler/sched-stats.rst); 0 where that is not told."""
    try:
        return sum(
            int(Path(f"/proc/{each}/task/{each}/schedstat").read_text().split()[1]) / 1e9
            for each in (pid, os.getpid())
        )
    except (OSError, IndexError):
        return 0.0


if __name__ == "__main__":
    print(*ask(int(sys.argv[1]), int(sys.argv[2])))
