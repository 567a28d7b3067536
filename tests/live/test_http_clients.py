"""HTTP clients that people have and cannot change: Triton's, MLServer's, curl, httpx-sse."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import httpx_sse
import pytest

from tests.live.rest_calls import events, open_gate, path, probe, prompt, words
from tests.live.service import Service
from tests.live.watch import PATIENCE

SCRIPTS = Path(__file__).with_name("scripts")
needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


def run(script: str, *arguments: str) -> str:
    """What a script printed, in a process of its own."""
    command = [sys.executable, str(SCRIPTS / script), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def curl(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = ["curl", "--silent", "--max-time", str(PATIENCE), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_tritonclient(service: Service) -> None:
    seen = json.loads(run("triton_http.py", f"127.0.0.1:{service.http}"))
    assert seen["ready"] is True
    assert seen["metadata"] == "prompt"
    assert {"jpeg-model", "tensor-sum", "text-model"} <= set(seen["index"])
    for form in ("binary", "gzip", "deflate"):
        assert seen[form] == [True, 12, "7"]
    assert seen["json answer"] == [True, None, "7"]
    assert seen["half"] == [3.5, 1, 2.5]
    assert seen["json"] == 3
    assert seen["images"] == [[48, 64, 3]] * 2
    assert seen["close"] is True
    assert seen["words"] == ["a", " é"]
    assert seen["bad image"][0] == "422"
    assert seen["no model"][0] == "404"
    assert seen["wrong shape"] == [
        "400",
        "Input 'x' is FP32 of shape [6], so 24 bytes, but its raw data has 20.",
    ]
    assert seen["after"] == [2, 1, 1]


@pytest.mark.parametrize("model", ["text-model", "stock-text"])
def test_the_sse_client_of_mlserver_s_streaming_example(service: Service, model: str) -> None:
    printed = run("mlserver_sse_client.py", service.url, model).splitlines()
    wanted = ["What", " is", " the", " capital", " of", " France?"]
    assert printed == [str([word]) for word in wanted]


def test_httpx_sse(service: Service) -> None:
    url = service.url + path("text-model", "generate_stream")
    with (
        httpx.Client(timeout=PATIENCE) as client,
        httpx_sse.connect_sse(client, "POST", url, json=prompt("a b")) as source,
    ):
        found = list(source.iter_sse())
    assert {event.event for event in found} == {"message"}
    assert words([event.json() for event in found]) == ["a", " b"]


@needs_curl
@pytest.mark.parametrize("options", [[], ["--compressed"]])
def test_curl_shows_each_event_before_the_next_is_made(
    service: Service, tmp_path: Path, options: list[str]
) -> None:
    gate = tmp_path / "gate"
    url = service.url + path("probe", "generate_stream")
    body = json.dumps(probe(steps=4, gate=str(gate)))
    command = ["curl", "-N", "--silent", *options, "--max-time", str(PATIENCE), "-d", body, url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, bufsize=0) as process:
        assert process.stdout is not None
        for step in range(4):
            event = process.stdout.readline() + process.stdout.readline()
            assert words(events(event.decode())) == [str(step)]
            open_gate(gate, step + 1)
        assert process.stdout.read() == b""
    assert process.returncode == 0


@needs_curl
def test_curl_is_answered_in_gzip_only_when_it_asks(service: Service) -> None:
    url = service.url + path("text-model", "generate_stream")
    plain = curl("-i", "-d", json.dumps(prompt("a b")), url)
    packed = curl("-i", "--compressed", "-d", json.dumps(prompt("a b")), url)
    assert "content-encoding" not in plain.stdout.lower()
    assert "content-encoding: gzip" in packed.stdout.lower()
    assert packed.stdout.partition("\n\n")[2].count("data: ") == 2


@needs_curl
@pytest.mark.parametrize("parameters", [{"fail_at": 1}, {"refuse_at": 1}])
@pytest.mark.parametrize("options", [[], ["--compressed"]])
def test_curl_sees_a_stream_that_fails_end_properly(
    service: Service, parameters: dict[str, int], options: list[str]
) -> None:
    url = service.url + path("probe", "infer_stream")
    done = curl(*options, "-d", json.dumps(probe(steps=3, **parameters)), url)
    assert done.returncode == 0
    assert "event: error\ndata: " in done.stdout


@needs_curl
def test_curl_is_told_of_an_unknown_model(service: Service) -> None:
    url = service.url + path("nope", "generate_stream")
    done = curl("-i", "-d", "{}", url)
    assert done.stdout.startswith("HTTP/1.1 404 ")
    assert list(json.loads(done.stdout.partition("\n\n")[2])) == ["error"]


@needs_curl
def test_curl_uploads_nothing_of_a_body_that_is_too_large(service: Service, tmp_path: Path) -> None:
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate(65 * 1024 * 1024)
    url = service.url + path("text-model", "infer")
    said = "%{http_code} %{size_upload}"
    done = curl("-o", str(tmp_path / "answer"), "-w", said, "--data-binary", f"@{large}", url)
    # curl asks first (Expect: 100-continue) and is refused.
    assert done.stdout == "413 0"
    assert list(json.loads((tmp_path / "answer").read_text())) == ["error"]


@needs_curl
@pytest.mark.parametrize("chunked", [[], ["-H", "Transfer-Encoding: chunked"]])
def test_curl_that_would_rather_speak_http_2(service: Service, chunked: list[str]) -> None:
    """It asks to upgrade with its first request; Java's client does so too."""
    body = json.dumps(prompt("a b"))
    url = service.url + path("text-model", "generate_stream")
    options = ["--http2", *chunked, "-H", "Expect:", "-w", "%{http_code} %{num_connects} "]
    # Both over one connection: it is good for more.
    done = curl(*options, "-d", body, url, "--next", "--silent", *options, "-d", body, url)
    assert done.stdout.count("data: ") == 4
    assert "200 1 " in done.stdout
    assert "200 0 " in done.stdout
