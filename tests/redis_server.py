"""A real Redis or Valkey server for tests, on a free port of the loopback."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from types import TracebackType
from typing import Self

import pytest

BINARY = shutil.which("redis-server") or shutil.which("valkey-server")
START_SECONDS = 10

needs_redis = pytest.mark.skipif(
    BINARY is None, reason="redis-server is not installed (Debian: apt-get install redis-server)"
)


# The rights that the service needs, as docs/scaling.md has them.
RIGHTS = (
    "~mlserver-streaming:resume:* &mlserver-streaming:resume:* +@read +@write +@scripting +@pubsub "
    "+@connection -@dangerous"
)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        found: int = free.getsockname()[1]
        return found


class RedisServer:
    """It can die, come back empty, be stopped, be full; it writes nothing to disk."""

    def __init__(self, *options: str) -> None:
        """
        Args:
            options: more of the command line.
        """
        self.port = free_port()
        self._options = options

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def start(self) -> Self:
        assert BINARY is not None
        where = ["--bind", "127.0.0.1", "--port", str(self.port)]
        kept = ["--save", "", "--appendonly", "no", "--dir", "/"]
        return self.run([BINARY, *where, *kept, *self._options])

    def run(self, command: list[str], answer: str = "+PONG", **environment: str) -> Self:
        """
        Args:
            command: starts it on `port`.
            answer: how what it says to a stranger begins.
        """
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **environment},
        )
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            try:
                if self.command("PING").startswith(answer):
                    return self
            except OSError:
                time.sleep(0.01)
        self.kill()
        raise RuntimeError("redis-server does not answer")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def hang(self) -> None:
        """Connections are taken, by the kernel; nothing is answered."""
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def command(self, *words: str | bytes) -> str:
        """The first line of its answer."""
        parts = [word.encode() if isinstance(word, str) else word for word in words]
        sent = b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%b\r\n" % (len(p), p) for p in parts)
        with socket.create_connection(("127.0.0.1", self.port), 5) as connection:
            connection.sendall(sent)
            with connection.makefile("rb") as answer:
                return answer.readline().decode().strip()

    def fill(self) -> None:
        """It takes nothing more."""
        self.command("CONFIG", "SET", "maxmemory-policy", "noeviction")
        self.command("CONFIG", "SET", "maxmemory", "1")

    def empty(self) -> None:
        """It has room, and holds nothing."""
        self.command("CONFIG", "SET", "maxmemory", "0")
        self.command("FLUSHALL")

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.kill()
