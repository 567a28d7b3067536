import os
import sys

import httpx
import pytest

from clients.server_process import HOST, ServiceError
from clients.service import Service

# Answers every path with 200, as a ready service does.
READY = """
import http.server, os
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
address = os.environ["MLSERVER_HOST"], int(os.environ["MLSERVER_HTTP_PORT"])
print("ports", os.environ["MLSERVER_GRPC_PORT"], os.environ["STREAMING_TRITON_PORT"], flush=True)
http.server.HTTPServer(address, Handler).serve_forever()
"""


def command(program: str) -> list[str]:
    return [sys.executable, "-c", program]


def test_it_runs_for_as_long_as_the_block(tmp_path):
    log = tmp_path / "new" / "server.log"
    with Service(log, command=command(READY)) as service:
        assert httpx.get(f"http://{HOST}:{service.http}/", trust_env=False).is_success
        process = service.process.pid
    assert log.read_text().startswith(f"ports {service.grpc} ")
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


def test_it_stops_also_after_an_error(tmp_path):
    with (
        pytest.raises(KeyboardInterrupt),
        Service(tmp_path / "log", command=command(READY)) as service,
    ):
        raise KeyboardInterrupt
    with pytest.raises(ProcessLookupError):
        os.kill(service.process.pid, 0)


def test_a_service_that_dies_as_it_starts(tmp_path):
    log = tmp_path / "log"
    with (
        pytest.raises(ServiceError, match=rf"with status 3; see {log}\nno port$") as caught,
        Service(log, command=command("print('no port'); raise SystemExit(3)")),
    ):
        pass
    assert caught.value.log_lines == ["no port"]


def test_a_service_that_never_gets_ready(tmp_path):
    service = Service(tmp_path / "log", command=command("import signal; signal.pause()"))
    service.ready_s = 0.2
    with pytest.raises(ServiceError, match=r"not ready after 0\.2 s"):
        service.start()
    with pytest.raises(ProcessLookupError):
        os.kill(service.process.pid, 0)


def test_a_command_that_is_not_there(tmp_path):
    with (
        pytest.raises(ServiceError, match=r"cannot be started: .*nothing: No such file"),
        Service(tmp_path / "log", command=[str(tmp_path / "nothing")]),
    ):
        pass
