"""A real `mlserver start`, on free ports of the loopback, for tests and benchmarks."""

from __future__ import annotations

import ssl
from pathlib import Path

from clients import service
from clients.server_process import HOST

ROOT = Path(__file__).resolve().parents[2]


class Service(service.Service):
    """`mlserver start FOLDER` in a process of its own; the folder's models may be the project's."""

    # Three start at once, each with workers of its own, on two cores that others may share.
    ready_s = 180.0
    # A service under test may have to kill its own workers first.
    stop_s = 20.0

    def __init__(
        self,
        folder: Path,
        log: Path,
        *,
        served: str = ".",
        tls: ssl.SSLContext | None = None,
        **environment: str,
    ):
        """
        Args:
            folder: where it is started.
            served: which folder it serves, as the command is told.
        """
        command = (*service.COMMAND[:-1], served)
        environment = {"PYTHONPATH": str(ROOT), **environment}
        super().__init__(log, folder=folder, command=command, tls=tls, **environment)

    @property
    def grpc_address(self) -> str:
        return f"{HOST}:{self.grpc}"

    @property
    def triton_address(self) -> str:
        return f"{HOST}:{self.triton}"
