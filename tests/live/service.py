"""A real `mlserver start`, on free ports of the loopback, for tests and benchmarks."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path

import httpx

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 180


class Service:
    """`mlserver start FOLDER` in a process of its own.

    Attributes:
        http, grpc, metrics, triton: its ports.
        log: everything that it has printed, a file.
        tls: what a client needs to reach it, None without TLS.
    """

    def __init__(
        self, folder: Path, log: Path, *, tls: ssl.SSLContext | None = None, **environment: str
    ):
        self.folder = folder
        self.log = log
        self.tls = tls
        self.http, self.grpc, self.metrics, self.triton = free_ports(4)
        self._environment = {
            **os.environ,
            "MLSERVER_HOST": "127.0.0.1",
            "MLSERVER_HTTP_PORT": str(self.http),
            "MLSERVER_GRPC_PORT": str(self.grpc),
            "MLSERVER_METRICS_PORT": str(self.metrics),
            "STREAMING_TRITON_PORT": str(self.triton),
            "PYTHONPATH": str(ROOT),
            **environment,
        }

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.http}"

    @property
    def grpc_address(self) -> str:
        return f"127.0.0.1:{self.grpc}"

    @property
    def triton_address(self) -> str:
        return f"127.0.0.1:{self.triton}"

    def start(self) -> Service:
        """Start it and wait until it is ready."""
        self._file = self.log.open("wb")
        self.process = subprocess.Popen(
            [str(Path(sys.executable).with_name("mlserver")), "start", "."],
            cwd=self.folder,
            env=self._environment,
            stdout=self._file,
            stderr=subprocess.STDOUT,
        )
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                self.stop()
                raise RuntimeError(f"mlserver ended with {self.process.returncode}:\n{self.tail()}")
            try:
                ready = httpx.get(f"{self.url}/v2/health/ready", timeout=5, verify=self.tls or True)
                if ready.status_code == 200:
                    return self
            except httpx.TransportError:
                pass
            time.sleep(0.05)
        self.stop()
        raise RuntimeError(f"mlserver was not ready after {START_SECONDS} s:\n{self.tail()}")

    def tail(self) -> str:
        if not self.log.is_file():  # /dev/full has no end
            return ""
        return self.log.read_text(errors="replace")[-4000:]

    def stop(self) -> int:
        """Stop it as a container platform does; its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self._file.close()
        return self.process.returncode

    def __enter__(self) -> Service:
        return self.start()

    def __exit__(self, *exception: object) -> None:
        self.stop()


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
