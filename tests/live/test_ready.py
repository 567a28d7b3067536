"""The container image's health check: `python -m mlserver_streaming.ready` in the served folder."""

from __future__ import annotations

import os
import subprocess
import sys

from clients.server_process import free_ports
from tests.live.service import ROOT, Service


def check(service: Service, port: int) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mlserver_streaming.ready"],
        cwd=service.folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "MLSERVER_HTTP_PORT": str(port)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_service_that_is_ready(service: Service) -> None:
    done = check(service, service.http)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_service_that_is_not_there(service: Service) -> None:
    [port] = free_ports(1)
    done = check(service, port)
    assert done.returncode == 1
    assert "Connection refused" in done.stderr
    assert done.stderr.count("\n") == 1
