"""The commands of docs/tls.md do what it says."""

from __future__ import annotations

import json
import os
import re
import shutil
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.conftest import make_folder
from tests.live.service import ROOT, Service
from tests.live.warm import WarmService

PAGE = (ROOT / "docs" / "tls.md").read_text()
PROMPT = "What is the capital of France?"
SHELL_BLOCKS = re.findall(r"```shell\n(.*?)```", PAGE, re.DOTALL)
CERTIFICATE, CLIENTS, CLIENT_CERTIFICATE = (block.splitlines() for block in SHELL_BLOCKS)

pytestmark = pytest.mark.skipif(
    shutil.which("openssl") is None
    or "OpenSSL 3" not in subprocess.check_output(["openssl", "version"], text=True),
    reason="OpenSSL 3 is not installed",
)


def sh(line: str, folder: Path, **environment: str) -> str:
    done = subprocess.run(
        line, shell=True, cwd=folder, capture_output=True, text=True, env=os.environ | environment
    )
    assert done.returncode == 0, f"{line}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Made and set up as the page says, with mutual TLS: what is more is asked of the clients."""
    folder = tmp_path_factory.mktemp("tls-docs") / "service"
    [settings] = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    make_folder(folder, streaming=json.loads(f"{{{settings}}}")["streaming"])
    for line in [*CERTIFICATE, *CLIENT_CERTIFICATE]:
        sh(line, folder)
    context = ssl.create_default_context(cafile=folder / "ca.pem")
    context.load_cert_chain(folder / "client.pem", folder / "client.key")
    environment = {"STREAMING_TLS__CLIENT_CA": "ca.pem"}
    with WarmService(folder, folder / "server.log", tls=context, **environment) as running:
        yield running


def mutual(line: str) -> str:
    return line.replace("--ca ca.pem", "--ca ca.pem --cert client.pem --key client.key")


@pytest.mark.parametrize("line", [line for line in CLIENTS if line.startswith("python")])
def test_our_clients(service: Service, line: str) -> None:
    port = service.http if "sse_client" in line else service.grpc
    line = mutual(line).replace("python", sys.executable, 1)
    environment = {"CLIENT_PORT": str(port), "PYTHONPATH": str(ROOT)}
    assert sh(line, service.folder, **environment) == f"{PROMPT}\n"


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl(service: Service) -> None:
    [line] = [line for line in CLIENTS if line.startswith("curl")]
    line = line.replace(":8080", f":{service.http}").replace(
        "--cacert ca.pem", "--cacert ca.pem --cert client.pem --key client.key"
    )
    answer = sh(line, service.folder)
    assert "event: error" not in answer
    assert answer.count("data: ") == len(PROMPT.split())


def test_the_health_check_of_the_image(service: Service) -> None:
    command = [sys.executable, "-m", "mlserver_streaming.ready"]
    environment = {
        "PYTHONPATH": str(ROOT),
        "MLSERVER_HTTP_PORT": str(service.http),
        "STREAMING_TLS__CLIENT_CA": "ca.pem",
    }
    certificate = {"CLIENT_CERT": "client.pem", "CLIENT_KEY": "client.key"}
    for more, status in ((certificate, 0), ({}, 1)):
        done = subprocess.run(
            command,
            cwd=service.folder,
            env=os.environ | environment | more,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr.count("\n")) == (status, status), done.stderr
