"""The streaming service, `mlserver start`, as a child process on free ports of this machine."""

from __future__ import annotations

import ssl
import sys
from collections.abc import Sequence
from pathlib import Path

from .address import join_address
from .server_process import HOST, ServerProcess, answers_ok, free_ports, on_ports

PROJECT = Path(__file__).resolve().parent.parent
# `mlserver` of the environment that runs this.
COMMAND = (str(Path(sys.executable).parent / "mlserver"), "start", ".")


class Service(ServerProcess):
    """`mlserver start FOLDER`, its output in `log`.

    Entering waits until the service is ready; leaving stops it. Raises ServiceError.

    Attributes:
        http, grpc, metrics, triton: its ports.
        tls: what a client needs to reach it, None without TLS.
    """

    def __init__(
        self,
        log: Path,
        *,
        folder: Path | None = None,
        command: Sequence[str] = COMMAND,
        tls: ssl.SSLContext | None = None,
        **environment: str,
    ) -> None:
        """
        Args:
            folder: what is served; left out, this project.
            environment: variables beside those of this process.
        """
        self.http, self.grpc, self.metrics, self.triton = ports = free_ports(4)
        super().__init__(command, folder or PROJECT, on_ports(*ports) | environment, log)
        self.tls = tls

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://{join_address(HOST, self.http)}"

    def is_ready(self) -> bool:
        return answers_ok(f"{self.url}/v2/health/ready", self.tls)
