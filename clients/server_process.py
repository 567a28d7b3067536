"""A server as a child process: started, waited for, stopped."""

from __future__ import annotations

import os
import random
import socket
import ssl
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from .errors import ClientError

HOST = "127.0.0.1"
READY_S = 60.0
# MLServer gives running gRPC calls a fixed 5 s when it stops.
STOP_S = 15.0
_POLL_S = 0.05
_ASK_S = 5.0
_LOG_LINES = 20
# Below those that Linux gives to outgoing connections: one of these would take the port before the
# server has it.
_PORTS = range(10_000, 32_000)


class ServiceError(ClientError):
    """The server did not start; `log_lines` are the last of its log."""

    def __init__(self, message: str, log_lines: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.log_lines = log_lines
        # Where nobody prints the lines by themselves, a traceback has them.
        self.add_note("\n".join(log_lines))


class ServerProcess:
    """`command` in `folder`, its output in `log`; entering waits until it is ready, leaving stops
    it.

    Subclasses say when it is ready. `process` is the running one.
    """

    ready_s, stop_s = READY_S, STOP_S

    def __init__(
        self, command: Sequence[str], folder: Path, environment: Mapping[str, str], log: Path
    ) -> None:
        """
        Args:
            environment: all of it; what this process has is not added.
        """
        self.command, self.folder, self.environment = list(command), folder, environment
        self.log = log

    def is_ready(self) -> bool:
        """Whether it answers as a server does that has loaded everything; asked again and again."""
        raise NotImplementedError

    def start(self) -> Self:
        """Start it and wait until it is ready. Raises ServiceError, when it is stopped again."""
        try:
            self.process = self.launch()
        except OSError as error:
            raise ServiceError(
                f"the service cannot be started: {error.filename}: {error.strerror}"
            ) from error
        try:
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def launch(self) -> subprocess.Popen[bytes]:
        """Start it. Raises OSError."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("wb") as log:
            return subprocess.Popen(
                self.command,
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Ctrl-C is for the program that runs the server; it stops the server itself.
                start_new_session=True,
            )

    def stop(self) -> int:
        """Stop it as a container platform does; its exit status."""
        self.process.terminate()
        try:
            self.process.wait(self.stop_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
        return self.process.wait()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def last_lines(self) -> list[str]:
        """The end of its log, for an error."""
        if not self.log.is_file():  # /dev/full has no end
            return []
        return self.log.read_text(errors="replace").splitlines()[-_LOG_LINES:]

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + self.ready_s
        while time.monotonic() < deadline:
            if (status := self.process.poll()) is not None:
                raise ServiceError(
                    f"the service ended as it started, with status {status}; see {self.log}",
                    self.last_lines(),
                )
            if self.is_ready():
                return
            time.sleep(_POLL_S)
        raise ServiceError(
            f"the service is not ready after {self.ready_s:g} s; see {self.log}", self.last_lines()
        )


def answers_ok(url: str, tls: ssl.SSLContext | None = None) -> bool:
    """Whether a server on this machine answers `url` with 200.

    Without a context of its own a certificate is not verified.
    """
    try:
        # Not through a proxy of the environment: the server is on this machine.
        answer = httpx.get(url, timeout=_ASK_S, trust_env=False, verify=tls or False)
    except httpx.TransportError:
        # Not listening yet.
        return False
    return answer.status_code == httpx.codes.OK


def free_ports(count: int) -> list[int]:
    """Ports nobody listens on at the moment; held together, so that no two are the same."""
    found: list[int] = []
    with ExitStack() as held:
        while len(found) < count:
            listener = held.enter_context(socket.socket())
            with suppress(OSError):
                listener.bind((HOST, random.choice(_PORTS)))
                found.append(listener.getsockname()[1])
    return found


def on_ports(http: int, grpc: int, metrics: int, triton: int) -> dict[str, str]:
    """This process's environment, and the variables that put MLServer on these ports of HOST."""
    return {
        **os.environ,
        "MLSERVER_HOST": HOST,
        "MLSERVER_HTTP_PORT": str(http),
        "MLSERVER_GRPC_PORT": str(grpc),
        "MLSERVER_METRICS_PORT": str(metrics),
        "STREAMING_TRITON_PORT": str(triton),
    }
