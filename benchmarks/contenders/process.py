"""A contender as a process of its own: pinned to its cores, watched while it is measured."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from clients.server_process import HOST, ServerProcess, ServiceError, answers_ok

PORT_SECONDS = 0.05
TRACKER = b"multiprocessing.resource_tracker"
# A process's CPU clock by its id, ended threads included (clock_getcpuclockid(3), which Python
# has for its own threads only): /proc's is rounded to 10 ms.
CPU_CLOCK = 2
# How often contenders are looked at between runs, for how long, and what share of a core all of
# them may use meanwhile. Triton pauses for a tenth of a second amid what it has left to do.
LOOKS, LOOK_SECONDS, IDLE = 120, 0.5, 0.1


class ContenderError(Exception):
    """A contender cannot be started, or answers wrongly; there is nothing to measure."""


@dataclass(frozen=True)
class Target:
    """A running contender, as the load generator knows it: its process and its ports."""

    pid: int
    http: int
    grpc: int
    triton: int = 0


class Contender(ServerProcess):
    """A server and the processes that it starts; a context manager that enters once its ports
    answer, and ends them all. Raises ContenderError.

    Attributes:
        http, grpc, triton: its ports on the loopback; 0 is none. Triton's dialect is on the third,
            where there is one.
        tls: whether its HTTP port speaks TLS.
        ready_path: what its HTTP port answers with 200 once its models are loaded; empty where an
            open port is all there is to wait for.
    """

    # Several start at once, each with workers of its own.
    ready_s = 180.0
    # Triton needs two to put its shared memory away.
    stop_s = 3.0

    def __init__(
        self,
        command: Sequence[str],
        folder: Path,
        environment: Mapping[str, str],
        ports: tuple[int, ...],
        cores: set[int],
        ready_path: str = "/v2/health/ready",
        tls: bool = False,
    ):
        self.http, self.grpc, *triton = ports
        self.triton = triton[0] if triton else self.grpc
        self.ready_path, self.tls = ready_path, tls
        self._cores = cores
        # glibc's thresholds are a result of this benchmark, never an input to it; and each keeps
        # what Python has compiled, as it does where nobody forbids it.
        clean = {
            name: value
            for name, value in {**os.environ, **environment}.items()
            if not name.startswith(("MALLOC_", "PYTHONDONTWRITE"))
        }
        super().__init__(command, folder, clean, folder / "server.log")

    def start(self) -> Self:
        try:
            return super().start()
        except ServiceError as error:
            name = Path(self.command[0]).name
            raise ContenderError("\n".join([f"{name}: {error}", *error.log_lines])) from None

    def launch(self) -> subprocess.Popen[bytes]:
        with on_cores(self._cores):
            return super().launch()

    def is_ready(self) -> bool:
        """Whether its ports answer and the models are loaded."""
        try:
            for port in filter(None, (self.http, self.grpc)):
                with socket.create_connection((HOST, port), PORT_SECONDS):
                    pass
        except OSError:
            return False
        if not self.http or not self.ready_path:
            return True
        # A certificate is ours, on the loopback; the load generator does verify it.
        return answers_ok(f"http{'s' * self.tls}://{HOST}:{self.http}{self.ready_path}")

    @property
    def target(self) -> Target:
        return Target(self.process.pid, self.http, self.grpc, self.triton)

    def stop(self) -> int:
        """End it soon: MLServer's own goodbye takes five seconds and is nobody's result."""
        members = family(self.process.pid)
        self.process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(self.stop_s)
        # Its workers too, which may not have heard; multiprocessing's tracker, which cleans up
        # after them, ends by itself.
        for pid in members:
            with suppress(OSError):
                if TRACKER not in Path(f"/proc/{pid}/cmdline").read_bytes():
                    os.kill(pid, signal.SIGKILL)
        return self.process.wait()


def family(*pids: int) -> set[int]:
    """The contenders that these processes lead: their sessions, and their descendants, some of
    which may have sessions of their own."""
    parents: dict[int, int] = {}
    found = set(pids)
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            # The fields from the third on: the second, a name, may hold blanks.
            fields, own = stat.read_text().rpartition(")")[2].split(), int(stat.parent.name)
            parents[own] = int(fields[1])
            if int(fields[3]) in pids:
                found.add(own)
    more = found
    while more:
        more = {own for own, parent in parents.items() if parent in more} - found
        found |= more
    return found


def cpu_seconds(*pids: int) -> float:
    """CPU time of contenders and their workers so far."""
    seconds = 0.0
    for each in family(*pids):
        with suppress(OSError):
            seconds += time.clock_gettime(~each << 3 | CPU_CLOCK)
    return seconds


def settled(*pids: int) -> None:
    """Wait until no contender works any more: some go on for long with what a client left behind,
    on the core of the one that is measured next."""
    for _ in range(LOOKS):
        before = cpu_seconds(*pids)
        time.sleep(LOOK_SECONDS)
        if cpu_seconds(*pids) - before < IDLE * LOOK_SECONDS:
            return
    print(f"after {LOOKS * LOOK_SECONDS:g} s a contender still works", file=sys.stderr)


def memory(pid: int) -> float:
    """MiB of a contender and its workers, what they share counted once (proc(5), Pss)."""
    kib = 0
    for each in family(pid):
        with suppress(OSError):  # it has just ended
            lines = Path(f"/proc/{each}/smaps_rollup").read_text().splitlines()
            kib += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return kib / 1024


@contextmanager
def on_cores(cores: set[int]) -> Iterator[None]:
    """Run on these cores only, for a while; a process started meanwhile stays on them."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
