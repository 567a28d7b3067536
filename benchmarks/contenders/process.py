"""A contender as a process of its own: pinned to its cores, watched while it is measured."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Self

START_SECONDS = 60.0
# Triton needs two to put its shared memory away.
STOP_SECONDS = 3.0
POLL_SECONDS = 0.05
LOG_CHARACTERS = 3000
TRACKER = b"multiprocessing.resource_tracker"
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
    """A server and the processes that it starts; a context manager that enters once its ports
    answer, and ends them all.

    Attributes:
        http, grpc: its ports on the loopback; 0 is none.
        tls: whether its HTTP port speaks TLS.
        ready_path: what its HTTP port answers with 200 once its models are loaded; empty where an
            open port is all there is to wait for.
    """

    def __init__(
        self,
        command: Sequence[str],
        folder: Path,
        environment: Mapping[str, str],
        ports: tuple[int, int],
        cores: set[int],
        ready_path: str = "/v2/health/ready",
        tls: bool = False,
    ):
        self.http, self.grpc = ports
        self.ready_path, self.tls = ready_path, tls
        self._command, self._folder, self._cores = list(command), folder, cores
        self._name = Path(self._command[0]).name
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
                raise ContenderError(f"{self._name} ended as it started:\n{self._tail()}")
            if self._is_ready():
                return
            time.sleep(POLL_SECONDS)
        raise ContenderError(f"{self._name} is not ready:\n{self._tail()}")

    def _is_ready(self) -> bool:
        """Whether its ports answer and the models are loaded."""
        try:
            for port in filter(None, (self.http, self.grpc)):
                with socket.create_connection(("127.0.0.1", port), POLL_SECONDS):
                    pass
            if not self.http or not self.ready_path:
                return True
            with closing(self._connection()) as connection:
                connection.request("GET", self.ready_path)
                return bool(connection.getresponse().status == HTTPStatus.OK)
        except (OSError, http.client.HTTPException):
            return False

    def _connection(self) -> http.client.HTTPConnection:
        if not self.tls:
            return http.client.HTTPConnection("127.0.0.1", self.http, timeout=1)
        context = ssl.create_default_context()
        # It is ours, on the loopback; the load generator does verify it.
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return http.client.HTTPSConnection("127.0.0.1", self.http, timeout=1, context=context)

    def _tail(self) -> str:
        return self._log.read_text(errors="replace")[-LOG_CHARACTERS:]

    def _stop(self) -> None:
        """End it soon: MLServer's own goodbye takes five seconds and is nobody's result."""
        members = family(self._process.pid)
        self._process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_SECONDS)
        # Its workers too, which may not have heard; multiprocessing's tracker, which cleans up
        # after them, ends by itself.
        for pid in members:
            with suppress(OSError):
                if TRACKER not in Path(f"/proc/{pid}/cmdline").read_bytes():
                    os.kill(pid, signal.SIGKILL)
        self._process.wait()


def family(pid: int) -> set[int]:
    """The contender that process `pid` leads: its session, and its descendants, some of which may
    have sessions of their own."""
    parents: dict[int, int] = {}
    found = {pid}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields, own = _fields(stat), int(stat.parent.name)
            parents[own] = int(fields[1])
            if int(fields[3]) == pid:
                found.add(own)
    more = found
    while more:
        more = {own for own, parent in parents.items() if parent in more} - found
        found |= more
    return found


def usage(pid: int) -> Usage:
    """CPU time and page faults of a contender and its workers so far (proc(5): fields 10, 14 and
    15 of stat)."""
    ticks = faults = 0
    for each in family(pid):
        with suppress(OSError):
            fields = _fields(Path(f"/proc/{each}/stat"))
            ticks += int(fields[11]) + int(fields[12])
            faults += int(fields[7])
    return Usage(ticks / TICKS, faults)


def _fields(stat: Path) -> list[str]:
    """The fields of stat from the third on: the second, a name, may hold blanks."""
    return stat.read_text().rpartition(")")[2].split()


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
