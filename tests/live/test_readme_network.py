"""The five steps of README's "Put it on a network", in a folder of their own."""

from __future__ import annotations

import os
import re
import shutil
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.live.conftest import make_folder
from tests.live.figures import figure
from tests.live.service import ROOT, Service
from tests.live.warm import WarmService

README = (ROOT / "README.md").read_text()
SECTION = README.partition("## Put it on a network")[2].partition("\n## ")[0]
[STEPS] = re.findall(r"```shell\n(.*?)```", SECTION, re.DOTALL)
FIRST, KEY, CERTIFICATE, SETTINGS, SERVE, ASK = re.split(r"# \d\. .*\n", STEPS)
PROMPT = "What is the capital of France?"
WORDS = 6

pytestmark = pytest.mark.skipif(
    shutil.which("openssl") is None
    or "OpenSSL 3" not in subprocess.check_output(["openssl", "version"], text=True),
    reason="OpenSSL 3 is not installed",
)


def bash(script: str, folder: Path, environment: dict[str, str]) -> str:
    done = subprocess.run(
        ["bash", "-euc", script], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{script}\n{done.stderr}"
    return done.stdout


class Network:
    """The service as the steps leave it, and the environment of the shell that took them."""

    def __init__(self, service: Service, environment: dict[str, str]):
        self.service = service
        self.environment = environment
        self.key = environment["CLIENT_API_KEY"]

    def ask(self, command: str) -> str:
        """Run one of the commands of the last step."""
        ports = {"8080": self.service.http, "8082": self.service.metrics}
        for port, real in ports.items():
            command = command.replace(f":{port}", f":{real}")
        port = self.service.grpc if "grpc_client" in command else self.service.http
        environment = self.environment | {"CLIENT_PORT": str(port), "CLIENT_DELAY": "0"}
        return bash(command, self.service.folder, environment)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    folder = make_folder(tmp_path_factory.mktemp("network") / "service")
    # As the first step does: the activated environment's programs are found first.
    assert FIRST.startswith(". .venv/bin/activate && mkdir -p secrets")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    begun = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}
    steps = f"mkdir -p secrets\n{KEY}{CERTIFICATE}{SETTINGS}env -0"
    environment = dict(
        line.split("=", 1) for line in bash(steps, folder, begun).rstrip("\0").split("\0")
    )
    context = ssl.create_default_context(cafile=folder / "secrets" / "server.pem")
    given = {name: value for name, value in environment.items() if name.startswith("STREAMING_")}
    everywhere = {"MLSERVER_HOST": "0.0.0.0"}
    with WarmService(folder, folder / "server.log", tls=context, **given, **everywhere) as service:
        yield Network(service, environment)


def test_the_serve_step_serves_everywhere() -> None:
    # What it would run; to run it would set up an environment first.
    command = [*SERVE.split(), "--dry-run", "--old-file=ready-to-serve", "--no-print-directory"]
    # As from a shell, also where make itself runs the tests.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    line = subprocess.check_output(command, cwd=ROOT, text=True, env=environment)
    assert re.fullmatch(r"MLSERVER_HOST=0\.0\.0\.0 exec \S+/mlserver start \.", line.strip())


@pytest.mark.parametrize("command", [line for line in ASK.splitlines() if "clients." in line])
def test_our_clients_get_their_answer(network: Network, command: str) -> None:
    assert network.ask(command).strip() == PROMPT


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_gets_events_and_metrics(network: Network) -> None:
    stream, metrics = (line for line in ASK.splitlines() if line.startswith("curl"))
    assert network.ask(stream).count("data: {") == WORDS
    assert "stream_active{" in network.ask(metrics)


def test_nobody_else_gets_in(network: Network) -> None:
    url = f"{network.service.url}/v2/models/text-model/generate_stream"
    for headers in ({}, {"x-api-key": "guessed"}):
        answer = httpx.post(
            url, json={"text_input": "a"}, headers=headers, verify=network.service.tls or True
        )
        assert answer.status_code == 401
    with pytest.raises(httpx.TransportError):
        httpx.get(url.replace("https", "http"))
    assert figure(network.service, "auth_refused_total", status="401") >= 2


def test_the_log_is_quiet_about_who_may_call_and_knows_the_caller(network: Network) -> None:
    network.ask(next(line for line in ASK.splitlines() if "sse_client" in line))
    log = network.service.log.read_text()
    assert "ANYBODY" not in log
    assert network.key not in log
    assert re.search(r"stream ended: .* key=me requests=1 responses=6 .* reason=completed", log)


def test_the_file_of_keys_holds_no_key(network: Network) -> None:
    assert network.key not in (network.service.folder / "secrets" / "keys.json").read_text()
