"""A stop that comes while the service is only starting: it ends, and its ports are free."""

import subprocess
import sys

import pytest

PROGRAM = """
import asyncio
import mlserver_streaming.repository
from clients.server_process import free_ports
from mlserver.server import MLServer
from mlserver.settings import Settings
from mlserver_streaming.ports import require_free

async def main():
    names = ("http_port", "grpc_port", "metrics_port")
    ports = dict(zip(names, free_ports(3)))
    server = MLServer(Settings(host="127.0.0.1", parallel_workers=0, debug=False, **ports))
    starting = asyncio.create_task(server.start())
    for _ in range({turns}):
        await asyncio.sleep(0)
    await server.stop()
    await starting
    require_free("127.0.0.1", ports)

asyncio.run(main())
"""


@pytest.mark.parametrize("turns", [0, 1, 2, 5])
def test_a_service_that_is_only_starting_stops(turns: int) -> None:
    program = PROGRAM.replace("{turns}", str(turns))
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr + done.stdout
