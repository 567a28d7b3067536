"""What a REST client sees of calls that go well: both bodies, both answers, each event in time."""

import asyncio
import base64
import json
import zlib
from collections.abc import Iterator
from pathlib import Path

import cv2
import httpx
import numpy as np
import pytest

from tests.live.rest_calls import events, image, open_gate, path, probe, prompt, tensor, words
from tests.live.service import Service
from tests.live.watch import closed, steps, wait_until

QUESTION = "What is  the capital\nof France? é"


@pytest.fixture
def client(service: Service) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=service.url, timeout=20) as client:
        yield client


@pytest.mark.parametrize("call", ["infer_stream", "generate_stream"])
def test_an_event_for_each_word(client: httpx.Client, call: str) -> None:
    answer = client.post(path("text-model", call), json=prompt(QUESTION) | {"id": "42"})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-accel-buffering"] == "no"
    found = events(answer.text)
    assert "".join(words(found)) == QUESTION
    assert {event["id"] for event in found} == {"42"}
    first, *others = found
    assert first["parameters"]["headers"]["Ce-Requestid"] == "42"
    assert not any("headers" in event.get("parameters", {}) for event in others)


def test_one_short_word_takes_at_most_220_bytes(client: httpx.Client) -> None:
    answer = client.post(path("text-model", "infer_stream"), json=prompt("Paris is in France"))
    _, *lines = answer.text.split("\n\n")[:-1]
    assert max(len(line) + 2 for line in lines) <= 220


@pytest.mark.parametrize("call", ["infer", "generate"])
def test_a_stream_is_collected_for_a_unary_call(client: httpx.Client, call: str) -> None:
    answer = client.post(path("text-model", call), json=prompt("a b c") | {"id": "7"})
    (output,) = answer.json()["outputs"]
    assert (output["shape"], output["data"]) == ([3], ["a", " b", " c"])
    assert answer.headers["ce-requestid"] == "7"


def test_a_unary_model_answers_a_stream_with_one_event(client: httpx.Client) -> None:
    body = {"inputs": [tensor("x", [1.0, 2.0, 6.0], "FP32")]}
    (event,) = events(client.post(path("tensor-sum", "infer_stream"), json=body).text)
    assert event["outputs"][0]["data"] == [9, 1, 6]


def test_half_precision_in_json(client: httpx.Client) -> None:
    body = {"inputs": [tensor("x", [1.0, 2.5], "FP16")]}
    answer = client.post(path("tensor-sum", "infer"), json=body)
    assert answer.json()["outputs"][0]["data"] == [3.5, 1, 2.5]


@pytest.mark.parametrize("model", ["text-model", "stock-text"])
def test_the_flat_form(client: httpx.Client, model: str) -> None:
    body = {"text_input": QUESTION, "parameters": {"delay": 0}}
    named = {"model_name": model, "model_version": ""}
    answer = client.post(path(model, "generate"), json=body)
    assert answer.json() == named | {"text_output": QUESTION}
    found = events(client.post(path(model, "generate_stream"), json=body | {"id": "1"}).text)
    assert "".join(event.pop("text_output") for event in found) == QUESTION
    assert all(event == named | {"id": "1"} for event in found)


def test_the_flat_form_is_not_for_infer(client: httpx.Client) -> None:
    answer = client.post(path("text-model", "infer"), json={"text_input": "a"})
    assert (answer.status_code, answer.json()) == (
        400,
        {"error": "Field 'inputs': field required."},
    )


def test_an_image_in_the_flat_form(client: httpx.Client) -> None:
    coded = cv2.imencode(".jpg", np.full((8, 16, 3), 90, np.uint8))[1].tobytes()
    body = {"text_input": base64.b64encode(coded).decode(), "quality": 50}
    found = client.post(path("jpeg-model", "generate"), json=body).json()
    assert base64.b64decode(found["text_output"]).startswith(b"\xff\xd8")


def test_one_bad_frame_of_three_costs_one_event(client: httpx.Client) -> None:
    coded = cv2.imencode(".jpg", np.full((8, 16, 3), 90, np.uint8))[1].tobytes()
    good = base64.b64encode(coded).decode()
    body = image(good)
    body["inputs"] = [tensor("image", ["bad!", good, good])]
    bad, *others = events(client.post(path("jpeg-model", "infer_stream"), json=body).text)
    assert (bad["outputs"], bad["parameters"]["error_code"]) == ([], 422)
    assert [event["parameters"]["frame_index"] for event in others] == [1, 2]


def test_an_id_that_cannot_be_a_header(client: httpx.Client) -> None:
    odd = "é\r\nSet-Cookie: a=b %41"
    answer = client.post(path("text-model", "infer"), json=prompt() | {"id": odd})
    assert answer.json()["id"] == odd
    assert answer.headers["ce-id"] == "%C3%A9%0D%0ASet-Cookie: a=b %41"
    assert "set-cookie" not in answer.headers
    assert client.post(path("text-model", "infer"), json=prompt() | {"id": "x" * 10**6}).is_success


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
async def test_each_event_comes_before_the_next_is_made(
    service: Service, tmp_path: Path, encoding: str
) -> None:
    # gzip_enabled and metrics_endpoint are both on in the shipped settings.
    shipped = json.loads((service.folder / "settings.json").read_text())
    assert shipped["gzip_enabled"] and shipped["metrics_endpoint"]
    gate = tmp_path / "gate"
    decoder = zlib.decompressobj(16 + zlib.MAX_WBITS)
    step = 0
    async with (
        httpx.AsyncClient(base_url=service.url, timeout=20) as client,
        client.stream(
            "POST",
            path("probe", "infer_stream"),
            json=probe(steps=4, gate=str(gate)),
            headers={"Accept-Encoding": encoding},
        ) as answer,
    ):
        assert answer.headers.get("content-encoding", "identity") == encoding
        async for chunk in answer.aiter_raw():
            text = decoder.decompress(chunk) if encoding == "gzip" else chunk
            if not text:
                continue
            # Whole, and alone: the model may make the next only now.
            (event,) = events(text.decode())
            assert words([event]) == [str(step)]
            step += 1
            open_gate(gate, step)
    assert step == 4


@pytest.mark.parametrize("call", ["infer", "infer_stream"])
async def test_a_client_that_hangs_up_stops_the_model(
    service: Service, tmp_path: Path, call: str
) -> None:
    notes = tmp_path / "notes"
    body = probe(steps=100_000, seconds=0.01, path=str(notes))
    async with httpx.AsyncClient(base_url=service.url, timeout=20) as client:

        async def ask() -> None:
            async with client.stream("POST", path("probe", call), json=body) as answer:
                async for _ in answer.aiter_raw():
                    pass

        asking = asyncio.create_task(ask())
        await wait_until(lambda: steps(notes) > 1)
        asking.cancel()
        await asyncio.wait([asking])
    await wait_until(lambda: closed(notes))
    seen = steps(notes)
    # Another whole call later the model has not moved.
    async with httpx.AsyncClient(base_url=service.url, timeout=20) as client:
        again = await client.post(path("probe", "infer"), json=probe(steps=3, seconds=0.02))
    assert again.status_code == 200
    assert steps(notes) == seen


def test_docs_and_documents(client: httpx.Client) -> None:
    for page in (client.get("/v2/docs").text, client.get("/v2/models/text-model/docs").text):
        assert "dataplane.json" in page and "generate_stream" in page
        assert "http://" not in page and "https://" not in page and "<script" not in page
    whole = client.get("/v2/docs/dataplane.json").json()
    assert "/v2/models/{model_name}/generate_stream" in whole["paths"]
    one = client.get("/v2/models/text-model/docs/dataplane.json").json()
    assert "/v2/models/text-model/generate_stream" in one["paths"]
    assert client.get("/v2/models/nope/docs/dataplane.json").status_code == 404
    generated = client.get("/openapi.json").json()
    assert {"/v2/repository/index", "/v2/models/{model_name}/infer"} <= set(generated["paths"])


def test_the_index_needs_no_body(client: httpx.Client) -> None:
    found = client.post("/v2/repository/index").json()
    assert {"name": "text-model", "state": "READY", "reason": ""} in found
    assert client.post("/v2/repository/index", json={"ready": True}).json() == found
