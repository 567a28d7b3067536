"""The README's code and commands do what it says."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.live.grpc_calls import raw_request, stream, words
from tests.live.service import ROOT, Service
from tests.live.warm import WarmService

README = (ROOT / "README.md").read_text()
PROMPT = "What is the capital of France?"
COMMAND = Path(sys.executable).with_name("mlserver-streaming")

needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


def block(language: str, containing: str) -> str:
    """The README's code block in this language that contains this text."""
    blocks = re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)
    [found] = [each for each in blocks if containing in each]
    return str(found)


_, INIT, _, CURL = block("shell", "mlserver-streaming init").splitlines()


def said(command: str) -> list[str]:
    """The texts in the events that a curl command prints."""
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=True)
    return re.findall(r"^data: .*\"(?:data\":\[|text_output\":)\"([^\"]*)\"", done.stdout, re.M)


def test_the_readme_can_be_read_in_two_minutes():
    assert len(README.splitlines()) <= 200


@needs_curl
def test_the_curl_line_prints_six_events(service: Service):
    command = block("shell", 'models/text-model/generate_stream -d \'{"inputs"')
    found = said(command.replace("localhost:8080", f"127.0.0.1:{service.http}"))
    assert "".join(found) == PROMPT
    assert len(found) == 6


@pytest.mark.parametrize("library", ["httpx_sse", "grpc"])
def test_the_python_code_stands_alone_and_prints_the_words_as_they_come(
    service: Service, library: str, tmp_path: Path
):
    code = block("python", f"import {library}\n" if library == "grpc" else library)
    assert 12 <= len(code.splitlines()) <= 20
    assert not re.search(r"mlserver_streaming|clients", code)
    code = code.replace("8080", str(service.http)).replace("8081", str(service.grpc))
    running = subprocess.Popen(
        [sys.executable, "-c", code], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert running.stdout is not None and running.stderr is not None
    # What is there at one time: half a second lies between the words.
    pieces = list(iter(lambda: os.read(running.stdout.fileno(), 1024), b""))
    assert b"".join(pieces).decode() == PROMPT, running.stderr.read().decode()
    assert pieces[0] == b"What"
    running.communicate()
    assert running.returncode == 0


@pytest.mark.parametrize(
    ("library", "sentence"),
    [("httpx_sse", '{"error":"There is no model'), ("grpc", "NOT_FOUND: There is no model")],
)
def test_the_python_code_says_what_the_service_says(service: Service, library: str, sentence: str):
    code = block("python", f"import {library}\n" if library == "grpc" else library)
    code = code.replace("8080", str(service.http)).replace("8081", str(service.grpc))
    done = subprocess.run(
        [sys.executable, "-c", code.replace("text-model", "nope")], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr.startswith(sentence)


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The folder that the README has made, served."""
    place = tmp_path_factory.mktemp("init")
    subprocess.run([COMMAND, *INIT.split()[1:]], cwd=place, check=True, capture_output=True)
    folder = place / INIT.split()[-1]
    with WarmService(folder, folder / "server.log") as service:
        yield service


def test_init_makes_the_model_that_the_readme_shows(mine: Service):
    model = (mine.folder / "model-settings" / "my-model" / "my_model.py").read_text()
    assert block("python", "class MyModel") in model


@needs_curl
def test_the_model_of_one_s_own_answers_the_curl_line(mine: Service):
    found = said(CURL.replace("localhost:8080", f"127.0.0.1:{mine.http}"))
    assert found == ["HELLO ", "FROM ", "MY ", "MODEL "]


async def test_the_model_of_one_s_own_streams_over_grpc_and_checks_its_inputs(mine: Service):
    request = raw_request("my-model", "prompt", [b"so so"])
    assert words(await stream(mine.grpc_address, [request])) == ["SO ", "SO "]
    body = {"inputs": [{"name": "wrong", "datatype": "BYTES", "shape": [1], "data": ["so"]}]}
    async with httpx.AsyncClient(base_url=mine.url) as client:
        refused = await client.post("/v2/models/my-model/generate_stream", json=body)
    assert refused.status_code == 400
    assert "'prompt'" in refused.json()["error"]
