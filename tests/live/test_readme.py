"""The README's code and commands do what it says."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.live.conftest import make_folder
from tests.live.grpc_calls import raw_request, stream, words
from tests.live.service import ROOT, Service
from tests.live.warm import WarmService

README = (ROOT / "README.md").read_text()
PROMPT = "What is the capital of France?"


def block(language: str, containing: str) -> str:
    """The README's code block in this language that contains this text."""
    blocks = re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)
    [found] = [each for each in blocks if containing in each]
    return str(found)


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_curl_line_prints_six_events(service: Service):
    command = block("shell", "curl -N http://").replace(
        "localhost:8080", f"127.0.0.1:{service.http}"
    )
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=True)
    events = re.findall(r"^data: .*\"data\":\[\"(.*)\"\]}\]}$", done.stdout, re.MULTILINE)
    assert "".join(events) == PROMPT
    assert len(events) == 6


@pytest.mark.parametrize("client", ["SseClient", "GrpcTextClient"])
def test_the_python_clients_print_the_words(service: Service, client: str):
    code = block("python", client)
    code = code.replace("8080", str(service.http)).replace("8081", str(service.grpc))
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == PROMPT, done.stderr


async def test_the_runtime_of_one_s_own_streams_over_both_protocols(tmp_path: Path):
    code = block("python", "class Shout")
    assert len(code.splitlines()) < 30
    folder = make_folder(tmp_path / "shout")
    own = folder / "model-settings" / "shout"
    own.mkdir()
    (own / "shout.py").write_text(code)
    (own / "model-settings.json").write_text(block("json", "shout.Shout"))
    with WarmService(folder, folder / "server.log") as service:
        responses = await stream(
            service.grpc_address, [raw_request("shout", "text", [b"make it loud"])]
        )
        assert words(responses) == ["MAKE", "IT", "LOUD"]
        body = {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": ["so so"]}]}
        async with httpx.AsyncClient(base_url=service.url) as client:
            streamed = await client.post("/v2/models/shout/generate_stream", json=body)
            body["inputs"][0]["name"] = "wrong"
            refused = await client.post("/v2/models/shout/generate_stream", json=body)
        assert re.findall(r'"data":\["(\w+)"\]', streamed.text) == ["SO", "SO"]
        assert refused.status_code == 400
        assert "'text'" in refused.json()["error"]
