"""Run the streaming service as a child process, for as long as a `with` block lasts."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from .address import join_address
from .errors import ClientError

HOST = "127.0.0.1"
PROJECT = Path(__file__).resolve().parent.parent
# `mlserver` of the environment that runs this.
COMMAND = (str(Path(sys.executable).parent / "mlserver"), "start", ".")

READY_S = 60.0
# MLServer gives running gRPC calls a fixed 5 s when it stops.
STOP_S = 15.0
_POLL_S = 0.1
_LOG_LINES = 10


class ServiceError(ClientError):
    """The service did not start; `log_lines` are the last of its log."""

    def __init__(self, message: str, log_lines: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.log_lines = log_lines


class Service:
    """`mlserver start .` on free ports of this machine, its output in `log`.

    Entering waits until the service is ready; leaving stops it. Raises ServiceError.
    """

    def __init__(
        self, log: Path, *, command: Sequence[str] = COMMAND, ready_s: float = READY_S
    ) -> None:
        self.log = log
        self.rest_port, self.grpc_port, self._metrics_port, self._triton_port = _free_ports(4)
        self._command = command
        self._ready_s = ready_s

    def __enter__(self) -> Self:
        environment = os.environ | {
            "MLSERVER_HOST": HOST,
            "MLSERVER_HTTP_PORT": str(self.rest_port),
            "MLSERVER_GRPC_PORT": str(self.grpc_port),
            "MLSERVER_METRICS_PORT": str(self._metrics_port),
            "STREAMING_TRITON_PORT": str(self._triton_port),
        }
        try:
            self.log.parent.mkdir(parents=True, exist_ok=True)
            with self.log.open("wb") as log:
                self._process = subprocess.Popen(
                    self._command,
                    cwd=PROJECT,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    # Ctrl-C is for the program that runs the service; it stops the service itself.
                    start_new_session=True,
                )
        except OSError as error:
            raise ServiceError(
                f"the service cannot be started: {error.filename}: {error.strerror}"
            ) from error
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

    def _wait_until_ready(self) -> None:
        url = f"http://{join_address(HOST, self.rest_port)}/v2/health/ready"
        deadline = time.monotonic() + self._ready_s
        # Not through a proxy of the environment: the service is on this machine.
        with httpx.Client(trust_env=False, timeout=1.0) as client:
            while time.monotonic() < deadline:
                if (status := self._process.poll()) is not None:
                    raise ServiceError(
                        f"the service ended as it started, with status {status}; see {self.log}",
                        self._last_lines(),
                    )
                try:
                    if client.get(url).status_code == httpx.codes.OK:
                        return
                except httpx.TransportError:
                    # Not listening yet.
                    pass
                time.sleep(_POLL_S)
        raise ServiceError(
            f"the service is not ready after {self._ready_s:g} s; see {self.log}",
            self._last_lines(),
        )

    def _last_lines(self) -> list[str]:
        return self.log.read_text(errors="replace").splitlines()[-_LOG_LINES:]

    def _stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _free_ports(count: int) -> list[int]:
    """Ports nobody listens on at the moment; held together, so that no two are the same."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for listener in sockets:
            listener.bind((HOST, 0))
        return [listener.getsockname()[1] for listener in sockets]
