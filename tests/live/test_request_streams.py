"""Requests that come one after another in one HTTP body, as a client of the service sees them."""

import asyncio
import gzip
import json
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import cv2
import httpx
import numpy as np
import pytest

from tests.live.rest_calls import Body, events, open_gate, path, probe, prompt, words
from tests.live.service import Service
from tests.live.watch import PATIENCE, closed, wait_until
from tests.shared_data import BUS

LINES = {"content-type": "application/x-ndjson"}
LINES_BACK = LINES | {"accept": "application/x-ndjson"}
FRAMES = {"content-type": "multipart/x-mixed-replace; boundary=frame"}


@pytest.fixture
def client(service: Service) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=service.url, timeout=PATIENCE) as client:
        yield client


def body(*requests: Any) -> bytes:
    return b"".join(
        (each if isinstance(each, bytes) else json.dumps(each).encode()) + b"\n"
        for each in requests
    )


def found(answer: httpx.Response) -> list[Body]:
    assert answer.status_code == 200, answer.text
    return [json.loads(line) for line in answer.text.splitlines()]


def frame(number: int) -> bytes:
    """A JPEG of a bright square that has moved on."""
    image = np.zeros((240, 320, 3), np.uint8)
    image[80:140, 20 + 20 * number : 80 + 20 * number] = 255
    return cv2.imencode(".jpg", image)[1].tobytes()


def test_curl_gets_each_answer_before_it_sends_the_next_line(service: Service) -> None:
    url = service.url + path("text-model", "generate_stream")
    kind = "content-type: application/x-ndjson"
    command = ["curl", "-sSN", "--noproxy", "*", "-X", "POST", "-T", ".", "-H", kind, url]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as curl:
        assert curl.stdin and curl.stdout
        for text in ("one", "two", "three"):
            curl.stdin.write(body({"id": text, "text_input": text, "delay": 0}))
            curl.stdin.flush()
            event = json.loads(curl.stdout.readline().removeprefix(b"data: "))
            assert (event["id"], event["text_output"]) == (text, text)
            assert curl.stdout.readline() == b"\n"
        curl.stdin.close()
        assert curl.stdout.read() == b""
    assert curl.returncode == 0


def test_all_lines_at_once(client: httpx.Client) -> None:
    sent = body(prompt("a b") | {"id": "1"}, b"", prompt("c") | {"id": "2"}) + b"\r\n"
    answer = client.post(path("text-model", "infer_stream"), content=sent, headers=LINES)
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    seen = events(answer.text)
    assert [(each["id"], *words([each])) for each in seen] == [("1", "a"), ("1", " b"), ("2", "c")]


def test_each_line_is_answered_in_its_own_form(client: httpx.Client) -> None:
    sent = body({"text_input": "a", "delay": 0}, prompt("b"), {"text_input": ["c"], "delay": 0})
    answer = client.post(path("text-model", "generate_stream"), content=sent, headers=LINES_BACK)
    assert answer.headers["content-type"] == "application/x-ndjson"
    first, second, third = found(answer)
    assert (first["text_output"], words([second]), third["text_output"]) == ("a", ["b"], ["c"])
    assert len({first["id"], second["id"], third["id"]}) == 3


@pytest.mark.parametrize("call", ["infer_stream", "generate_stream"])
def test_lines_back_for_one_request(client: httpx.Client, call: str) -> None:
    headers = {"accept": "application/x-ndjson, text/event-stream;q=0.5"}
    answer = client.post(path("text-model", call), json=prompt("a b"), headers=headers)
    assert words(found(answer)) == ["a", " b"]


def test_a_bad_line_costs_one_answer(client: httpx.Client) -> None:
    bad = [
        b"{",
        {"id": "no inputs"},
        prompt("x", delay=-1) | {"id": "delay"},
        prompt("x", timeout="soon") | {"id": "timeout"},
        {"id": "bytes", "inputs": [{"name": "prompt", "datatype": "BYTES", "shape": [1]}]},
    ]
    bad[-1]["inputs"][0]["parameters"] = {"binary_data_size": 5}  # type: ignore[index]
    sent = body(*bad, prompt("good") | {"id": "good"})
    answers = found(
        client.post(path("text-model", "infer_stream"), content=sent, headers=LINES_BACK)
    )
    failed = {each.get("id", ""): each["parameters"] for each in answers if not each["outputs"]}
    assert set(failed) == {"", "no inputs", "delay", "timeout", "bytes"}
    assert {each["error_code"] for each in failed.values()} == {400}
    assert "send its data in the JSON" in failed["bytes"]["error"]
    assert [each["id"] for each in answers if each["outputs"]] == ["good"]


@pytest.mark.parametrize(
    ("model", "content", "headers", "status", "said"),
    [
        ("text-model", b"{", LINES, 400, "not JSON"),
        ("text-model", body(prompt(delay=-1)), LINES, 400, "Parameter 'delay'"),
        ("probe", body(probe(refuse_at=0)), LINES, 503, "told to refuse"),
        ("text-model", b"\n \r\n", LINES, 400, "holds no request"),
        ("text-model", b"", FRAMES, 400, "cut off"),
        ("no-such", b"{}", LINES, 404, "There is no model 'no-such'"),
        ("text-model", b"{}", LINES | {"content-encoding": "br"}, 415, "not supported"),
        ("text-model", b"{}", LINES | {"content-encoding": "gzip"}, 400, "not valid gzip"),
        ("text-model", b"{}", LINES | {"inference-header-content-length": "1"}, 400, "leave it"),
        ("text-model", b"{}", {"content-type": "multipart/form-data"}, 400, "'boundary'"),
        ("tensor-sum", b"--frame\r\n\r\nx\r\n--frame--", FRAMES, 400, "no input of bytes"),
    ],
)
def test_what_fails_before_the_first_answer_is_a_status(
    client: httpx.Client,
    model: str,
    content: bytes,
    headers: dict[str, str],
    status: int,
    said: str,
) -> None:
    answer = client.post(path(model, "infer_stream"), content=content, headers=headers)
    assert (answer.status_code, said in answer.json()["error"]) == (status, True), answer.text


def test_a_line_has_a_time_of_its_own(client: httpx.Client) -> None:
    late = prompt("a b", delay=1, timeout=50_000) | {"id": "late"}
    sent = body(late, prompt("c") | {"id": "c"})
    answers = found(
        client.post(path("text-model", "infer_stream"), content=sent, headers=LINES_BACK)
    )
    codes = {each["id"]: each.get("parameters", {}).get("error_code") for each in answers}
    assert codes == {"late": 504, "c": None}


def test_gzip_both_ways(client: httpx.Client) -> None:
    sent = gzip.compress(body(prompt("a"))) + gzip.compress(body(prompt("b")))
    headers = LINES_BACK | {"content-encoding": "gzip", "accept-encoding": "gzip"}
    answer = client.post(path("text-model", "infer_stream"), content=sent, headers=headers)
    assert answer.headers["content-encoding"] == "gzip"
    assert words(found(answer)) == ["a", "b"]


def test_a_sequence_of_the_call(client: httpx.Client) -> None:
    sent = body(prompt("a", sequence_id="s1"), prompt("b", sequence_id="s2"))
    headers = LINES_BACK | {"x-sequence-id": "s2"}
    answer = client.post(path("text-model", "infer_stream"), content=sent, headers=headers)
    assert answer.headers["x-sequence-id"] == "s2"
    first, second = (each["parameters"]["error"] for each in found(answer))
    assert "they must be the same" in first and "START" in second


async def test_a_camera_is_one_stream(service: Service) -> None:
    """Each picture is answered before the next is taken; what moves is told from those before."""
    answered: asyncio.Queue[int] = asyncio.Queue()

    async def camera() -> AsyncIterator[bytes]:
        for number in range(6):
            picture = frame(number)
            head = b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n"
            yield head % len(picture) + picture + b"\r\n"
            assert await asyncio.wait_for(answered.get(), PATIENCE) == number
        yield b"--frame--\r\n"

    url = service.url + path("motion", "infer_stream")
    headers = FRAMES | {"accept": "application/x-ndjson"}
    seen: list[Body] = []
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(PATIENCE)) as client,
        client.post(url, data=camera(), headers=headers) as answer,
    ):
        async for text in answer.content:
            answered.put_nowait(len(seen))
            seen.append(json.loads(text))
    moving = [each["outputs"][0]["data"][0] for each in seen]
    assert len(moving) == 6 and moving[0] == 0 and max(moving) > 0


def test_a_form(client: httpx.Client) -> None:
    picture = BUS.read_bytes()
    files = [
        ("id", (None, "one")),
        ("quality", (None, "20")),
        ("image", ("bus.jpg", picture, "image/jpeg")),
        ("image", ("bus.jpg", picture)),
        ("image", ("no.jpg", b"no picture", "image/jpeg")),
    ]
    headers = {"accept": "application/x-ndjson"}
    url = path("jpeg-model", "infer_stream")
    first, second, third = found(client.post(url, files=files, headers=headers))
    assert first["id"] == "one" and second["id"] not in ("one", "")
    sizes = [len(each["outputs"][0]["data"][0]) for each in (first, second)]
    assert sizes[0] == sizes[1] < len(picture)
    assert third["parameters"]["error_code"] == 422


async def test_a_hang_up_amid_the_body_stops_the_model(service: Service, tmp_path: Path) -> None:
    notes, gate = tmp_path / "notes", tmp_path / "gate"
    going_on = asyncio.Event()

    async def lines() -> AsyncIterator[bytes]:
        yield body(probe(steps=2, gate=str(gate), path=str(notes)))
        await going_on.wait()

    url = service.url + path("probe", "infer_stream")
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(PATIENCE)) as client,
        client.post(url, data=lines(), headers=LINES_BACK) as answer,
    ):
        await answer.content.readline()
        answer.close()
    await wait_until(lambda: closed(notes))
    assert notes.read_text() == "step 0\nclosed\n"


async def test_a_body_that_is_cut_off(service: Service, tmp_path: Path) -> None:
    """What was asked whole is answered, and then it is said."""
    gate = tmp_path / "gate"
    sent = body(probe(steps=2, gate=str(gate))) + b'{"inp'
    reader, writer = await asyncio.open_connection("127.0.0.1", service.http)
    head = (
        f"POST {path('probe', 'infer_stream')} HTTP/1.1\r\nHost: a\r\n"
        "Content-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    writer.write(head.encode() + b"%x\r\n%b" % (len(sent) + 9, sent))
    await asyncio.wait_for(reader.readuntil(b'["0"]'), PATIENCE)
    writer.write_eof()
    open_gate(gate, 1)
    said = (await asyncio.wait_for(reader.read(), PATIENCE)).decode()
    writer.close()
    await writer.wait_closed()
    assert '["1"]' in said
    assert 'event: error\ndata: {"error":"The request is cut off' in said
    assert said.endswith("\r\n0\r\n\r\n")


async def test_a_client_that_does_not_read_stops_the_model(
    service: Service, tmp_path: Path
) -> None:
    """So many large answers do not fit anywhere between; the lines behind them are not read."""
    notes = tmp_path / "notes"
    sent = body(*[probe(size=1_000_000, path=str(notes))] * 100)
    reader, writer = await asyncio.open_connection("127.0.0.1", service.http, limit=2**22)
    head = (
        f"POST {path('probe', 'infer_stream')} HTTP/1.1\r\nHost: a\r\n"
        f"Content-Type: application/x-ndjson\r\nContent-Length: {len(sent)}\r\n\r\n"
    )
    writer.write(head.encode() + sent)
    # The probe goes on for as long as anybody takes its answers.
    count, before = 0, -1
    while count != before or count == 0:
        await asyncio.sleep(0.5)
        count, before = notes.read_text().count("step") if notes.exists() else 0, count
    assert count < 100
    answered = 0
    while answered < 100:
        data = await asyncio.wait_for(reader.readuntil(b"\n\n"), PATIENCE)
        answered += data.count(b"data: ")
    writer.close()
    await writer.wait_closed()


def test_the_metrics_tell_these_calls_apart(service: Service, client: httpx.Client) -> None:
    client.post(path("echo", "infer_stream"), content=body(probe()), headers=LINES)
    text = httpx.get(f"http://127.0.0.1:{service.metrics}/metrics", timeout=PATIENCE).text
    (line,) = (
        each
        for each in text.splitlines()
        if each.startswith("stream_requests_total{") and "echo" in each and "ndjson" in each
    )
    assert float(line.split()[-1]) == 1
