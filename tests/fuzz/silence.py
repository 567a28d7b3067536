"""How long health is unanswered: asked 50 times a second from a process of its own.

`python -m tests.fuzz.silence PORT` asks until its input ends, then prints two numbers of seconds:
the longest silence, and how much too late this process itself was at most, for the machine's part.
"""

from __future__ import annotations

import select
import socket
import subprocess
import sys
import time

EVERY_SECONDS = 0.02
REQUEST = b"GET /v2/health/ready HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Silence:
    """Asks while it is open.

    Attributes:
        longest, late: seconds, once it is closed.
    """

    def __init__(self, port: int):
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.fuzz.silence", str(port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.longest = self.late = 0.0

    def __enter__(self) -> Silence:
        return self

    def __exit__(self, *exception: object) -> None:
        said, _ = self._process.communicate()
        self.longest, self.late = map(float, said.split())


def ask(port: int) -> tuple[float, float]:
    longest = late = 0.0
    with socket.create_connection(("127.0.0.1", port)) as connection:
        due = time.monotonic()
        while not select.select([sys.stdin], [], [], max(0.0, due - time.monotonic()))[0]:
            asked = time.monotonic()
            late = max(late, asked - due)
            connection.sendall(REQUEST)
            answer = b""
            while not answer.endswith(b"\r\n\r\n"):
                part = connection.recv(4096)
                if not part:
                    raise SystemExit("The service has closed the connection.")
                answer += part
            now = time.monotonic()
            longest = max(longest, now - asked)
            due = max(due + EVERY_SECONDS, now)
    return longest, late


if __name__ == "__main__":
    print(*ask(int(sys.argv[1])))
