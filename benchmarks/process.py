"""A contender as a process of its own: pinned to its cores, watched while it is measured."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

START_SECONDS = 60.0
STOP_SECONDS = 2.0
POLL_SECONDS = 0.05
LOG_CHARACTERS = 3000
TICKS = os.sysconf("SC_CLK_TCK")


class ContenderError(Exception):
    """A contender cannot be started, or answers wrongly; there is nothing to measure."""


@dataclass(frozen=True)
class Usage:
    """What a process has used since it started."""

    cpu_seconds: float
    minor_faults: int

    def since(self, before: Usage) -> Usage:
        return Usage(self.cpu_seconds - before.cpu_seconds, self.minor_faults - before.minor_faults)


@dataclass(frozen=True)
class Target:
    """A running contender, as the load generator knows it: its process and its ports."""

    pid: int
    http: int
    grpc: int


class Contender:
    """A server process; a context manager that leaves once the port answers, and ends it.

    Attributes:
        http, grpc: its ports on the loopback.
    """

    def __init__(
        self,
        command: Sequence[str],
        folder: Path,
        environment: Mapping[str, str],
        ports: tuple[int, int],
        cores: set[int],
    ):
        self.http, self.grpc = ports
        self._command, self._folder, self._cores = list(command), folder, cores
        # glibc's thresholds are a result of this benchmark, never an input to it.
        self._environment = {
            name: value
            for name, value in {**os.environ, **environment}.items()
            if not name.startswith("MALLOC_")
        }
        self._log = folder / "server.log"

    def __enter__(self) -> Self:
        with self._log.open("wb") as log, on_cores(self._cores):
            self._process = subprocess.Popen(
                self._command,
                cwd=self._folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            self._wait_until_ready()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop()

    @property
    def target(self) -> Target:
        return Target(self._process.pid, self.http, self.grpc)

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise ContenderError(f"{self._command[0]} ended as it started:\n{self._tail()}")
            if self._is_ready():
                return
            time.sleep(POLL_SECONDS)
        raise ContenderError(f"{self._command[0]} is not ready:\n{self._tail()}")

    def _is_ready(self) -> bool:
        """Whether both ports answer and the models are loaded."""
        try:
            with socket.create_connection(("127.0.0.1", self.grpc), POLL_SECONDS):
                pass
            if not self.http:
                return True
            with socket.create_connection(("127.0.0.1", self.http), POLL_SECONDS) as connection:
                connection.settimeout(1)
                connection.sendall(b"GET /v2/health/ready HTTP/1.1\r\nHost: localhost\r\n\r\n")
                return connection.recv(64).startswith(b"HTTP/1.1 200")
        except OSError:
            return False

    def _tail(self) -> str:
        return self._log.read_text(errors="replace")[-LOG_CHARACTERS:]

    def _stop(self) -> None:
        """End it soon: MLServer's own goodbye takes five seconds and is nobody's result."""
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def usage(pid: int) -> Usage:
    """CPU time and page faults of a process so far (proc(5), fields 10, 14 and 15 of stat)."""
    stat = Path(f"/proc/{pid}/stat").read_text()
    fields = stat.rpartition(")")[2].split()
    return Usage((int(fields[11]) + int(fields[12])) / TICKS, int(fields[7]))


@contextmanager
def on_cores(cores: set[int]) -> Iterator[None]:
    """Run on these cores only, for a while; a process started meanwhile stays on them."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def free_ports(count: int) -> list[int]:
    """Ports that nothing listens on, all different."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()
