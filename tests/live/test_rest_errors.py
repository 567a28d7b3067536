"""Bad input over REST: one clear sentence, the right status, and the next request works."""

import asyncio
import base64
import json
import socket
from collections.abc import Iterator
from typing import Any

import cv2
import httpx
import numpy as np
import pytest

from tests.live.rest_calls import image, path, probe, prompt, tensor
from tests.live.service import Service

CALLS = ["infer", "infer_stream", "generate", "generate_stream"]
JPEG = cv2.imencode(".jpg", np.full((48, 64, 3), 90, np.uint8))[1].tobytes()
GOOD = base64.b64encode(JPEG).decode()
MIB = 1024 * 1024


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def claiming(width: int, height: int) -> bytes:
    """A JPEG whose header says this size."""
    at = JPEG.index(b"\xff\xc0") + 5
    return JPEG[:at] + height.to_bytes(2, "big") + width.to_bytes(2, "big") + JPEG[at + 4 :]


@pytest.fixture
def client(service: Service) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=service.url, timeout=20) as client:
        yield client
        # The next request works.
        assert client.post(path("text-model", "infer"), json=prompt("a b")).status_code == 200


def check(answer: httpx.Response, status: int, *said: str) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"].startswith("application/json")
    body = answer.json()
    assert list(body) == ["error"]
    for part in said:
        assert part in body["error"]
    assert "Traceback" not in body["error"]
    assert "\n" not in body["error"]


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    ("model", "said"),
    [("nope", "'nope'"), ("text-model/versions/v9", "version 'v9' of model 'text-model'")],
)
def test_no_such_model(client: httpx.Client, call: str, model: str, said: str) -> None:
    check(client.post(path(model, call), json=prompt()), 404, said)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({"inputs": []}, 400, "no inputs"),
        ({"inputs": [tensor("text", ["a"])]}, 400, "has no input 'text'"),
        ({"inputs": [tensor("prompt", [1], "INT32")]}, 400, "must be BYTES"),
        ({"inputs": [tensor("prompt", ["a"]) | {"shape": [2]}]}, 400, "shape [2]"),
        ({"inputs": [tensor("prompt", ["a"]) | {"shape": [-1]}]}, 400, "shape [-1]"),
        ({"inputs": [tensor("prompt", [1])]}, 400, "must be strings"),
        ({"inputs": [tensor("prompt", ["a"])], "outputs": [{"name": "o"}]}, 400, "no output 'o'"),
        ({"inputs": "a"}, 400, "Field 'inputs'"),
        (prompt(encoded(b"caf\xe9"), "base64"), 422, "not UTF-8 text (byte 3 is 0xe9)"),
        (prompt("&&&", "base64"), 422, "not base64"),
        (prompt(delay=-1), 400, "'delay' must be a number from 0 to 10"),
        (prompt(delay=1e9), 400, "'delay' must be a number from 0 to 10"),
        (prompt(delay="soon"), 400, "'delay' must be a number"),
    ],
)
def test_a_text_request_that_is_wrong(
    client: httpx.Client, call: str, body: dict[str, Any], status: int, said: str
) -> None:
    check(client.post(path("text-model", call), json=body), status, said)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (image(encoded(b"not an image")), 422, "input 'image'"),
        (image(encoded(JPEG[: len(JPEG) // 2])), 422, "input 'image'"),
        (image(encoded(claiming(60000, 60000))), 422, "60000x60000"),
        (image("%%%garbage%%%"), 422, "neither a JPEG nor base64"),
        (image(GOOD, quality=0), 400, "'quality' must be a whole number from 1 to 100"),
        (image(GOOD, quality="high"), 400, "'quality' must be a whole number from 1 to 100"),
    ],
)
def test_an_image_request_that_is_wrong(
    client: httpx.Client, call: str, body: dict[str, Any], status: int, said: str
) -> None:
    check(client.post(path("jpeg-model", call), json=body), status, said)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    ("content", "headers", "status", "said"),
    [
        (b"", {}, 400, "empty"),
        (b"{", {}, 400, "not JSON"),
        (b"[]", {}, 400, "must be a JSON object"),
        (b'{"inputs": "\xff"}', {}, 422, "not UTF-8"),
        (b"[" * 30_000, {}, 400, "not JSON"),
        (b"[" * 100_000, {}, 413, "more than 81920 values"),
        (b"zzz", {"Content-Encoding": "gzip"}, 400, "not valid gzip"),
        (b"{}", {"Content-Encoding": "br"}, 415, "'br' is not supported"),
        (b"{}", {"Inference-Header-Content-Length": "3"}, 400, "has only 2 bytes"),
        (b"{}", {"Inference-Header-Content-Length": "-1"}, 400, "must be the length"),
        (b"{}", {"Inference-Header-Content-Length": "two"}, 400, "must be the length"),
        (b"{}aa", {"Inference-Header-Content-Length": "2"}, 400, ""),
    ],
)
def test_a_body_that_is_wrong(
    client: httpx.Client,
    call: str,
    content: bytes,
    headers: dict[str, str],
    status: int,
    said: str,
) -> None:
    check(client.post(path("text-model", call), content=content, headers=headers), status, said)


def test_numbers_that_a_stock_runtime_would_choke_on(client: httpx.Client) -> None:
    for data in (["a"], [[1], [2, 3]], [{}], ["NaN"]):
        body = {"inputs": [tensor("x", data, "FP32")]}
        check(client.post(path("tensor-sum", "infer"), json=body), 400, "nput 'x'")


@pytest.mark.parametrize("call", CALLS)
def test_what_goes_wrong_inside_stays_inside(
    client: httpx.Client, service: Service, call: str
) -> None:
    answer = client.post(path("probe", call), json=probe(fail_at=0) | {"id": "inside-1"})
    check(answer, 500, "'inside-1'")
    assert "secret" not in answer.text
    assert "a secret that no client may see" in service.log.read_text()


def test_a_refusal_keeps_its_words_and_status(client: httpx.Client) -> None:
    check(client.post(path("probe", "infer"), json=probe(refuse_at=0)), 503, "told to refuse")


@pytest.mark.parametrize(
    ("parameters", "said"),
    [({"fail_at": 2}, "The service failed on request"), ({"refuse_at": 2}, "told to refuse")],
)
def test_an_error_amid_a_stream_is_its_last_event(
    client: httpx.Client, parameters: dict[str, int], said: str
) -> None:
    answer = client.post(path("probe", "infer_stream"), json=probe(steps=5, **parameters))
    assert answer.status_code == 200
    *good, bad = answer.text.removesuffix("\n\n").split("\n\n")
    assert len(good) == 2
    kind, data = bad.split("\n")
    assert kind == "event: error"
    assert said in json.loads(data.removeprefix("data: "))["error"]
    assert "secret" not in bad


@pytest.mark.parametrize(
    ("method", "where", "status", "said"),
    [
        ("GET", "/nowhere", 404, "nothing at /nowhere"),
        ("GET", "/v2/models/text-model/infer", 405, "takes POST"),
        ("DELETE", "/v2/models/text-model/generate_stream", 405, "takes POST"),
        ("POST", "/v2", 405, "takes GET"),
        ("GET", "/v2/models/nope", 404, "nope"),
        ("GET", "/v2/models/nope/ready", 404, "nope"),
        ("POST", "/v2/repository/models/nope/load", 404, "nope"),
        ("POST", "/v2/repository/models/nope/unload", 404, "nope"),
        ("GET", "/v2/models/nope/docs/dataplane.json", 404, "nope"),
    ],
)
def test_other_paths(client: httpx.Client, method: str, where: str, status: int, said: str) -> None:
    check(client.request(method, where), status, said)


def test_a_wrong_body_for_the_index(client: httpx.Client) -> None:
    for content in (b"{", b'{"ready": "perhaps"}', b"[]"):
        check(client.post("/v2/repository/index", content=content), 400)
    check(client.post("/v2/repository/index", content=b"\xff"), 422)
    check(client.post("/v2/repository/index", content=bytes(MIB)), 413)


def test_a_long_bad_value_is_not_repeated_whole(client: httpx.Client) -> None:
    body = {"inputs": [tensor("x" * MIB, ["a"])]}
    answer = client.post(path("text-model", "infer"), json=body)
    check(answer, 400)
    assert len(answer.content) < 2000


@pytest.mark.parametrize("call", CALLS)
def test_a_body_that_declares_too_much_is_refused_unread(service: Service, call: str) -> None:
    with socket.create_connection(("127.0.0.1", service.http), 20) as connection:
        head = f"POST {path('text-model', call)} HTTP/1.1\r\nHost: x\r\nContent-Length: {65 * MIB}"
        connection.sendall(head.encode() + b"\r\n\r\n{")
        # Nothing more is sent: the answer can only rest on what was declared.
        assert connection.recv(1000).startswith(b"HTTP/1.1 413 ")


async def test_a_body_of_unknown_length_is_refused_at_the_limit(service: Service) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", service.http)
    head = f"POST {path('text-model', 'infer')} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked"
    writer.write(head.encode() + b"\r\n\r\n")
    chunk = b"%x\r\n%b\r\n" % (MIB, bytes(MIB))
    answering = asyncio.create_task(reader.readuntil(b"\r\n"))
    for _ in range(200):  # the body never ends: an answer that waited for its end would not come
        if answering.done():
            break
        writer.write(chunk)
        await writer.drain()
    assert await asyncio.wait_for(answering, 20) == b"HTTP/1.1 413 Request Entity Too Large\r\n"
    writer.close()


@pytest.mark.parametrize("call", CALLS)
def test_parameters_nested_too_deep(client: httpx.Client, call: str) -> None:
    body = json.dumps(prompt()).replace('"delay"', '"deep": ' + "[" * 990 + "]" * 990 + ', "delay"')
    answer = client.post(path("text-model", call), content=body)
    check(answer, 400, "nested more than 100 deep")
