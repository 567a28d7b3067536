"""A live service and requests that once kept everybody waiting: refused or cut short, in words.

What they cost is measured by `make silence`; that each is read in turns is tested
in the rooms.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable

import grpc
import httpx
import pytest
from mlserver.grpc import dataplane_pb2 as pb

from tests.audio.sounds import reading
from tests.live.grpc_calls import infer, stream, triton_stream
from tests.live.rest_calls import path, prompt, tensor
from tests.live.service import Service

WORDS = "a " * 200_000
MILLION = 1_000_000
JSON_LENGTH = "Inference-Header-Content-Length"
Input = pb.ModelInferRequest.InferInputTensor


def words(**parameters: int) -> bytes:
    return json.dumps({"text_input": WORDS, "parameters": {"delay": 0, **parameters}}).encode()


def inputs(count: int) -> bytes:
    return json.dumps({"inputs": [tensor("x", ["a"])] * count}).encode()


def rows(count: int) -> bytes:
    nothing = ",".join(["[]"] * count)
    return b'{"inputs":[{"name":"x","datatype":"FP32","shape":[%d,0],"data":[%b]}]}' % (
        count,
        nothing.encode(),
    )


def raw_bytes(count: int, shape: int) -> bytes:
    """Many empty elements, said to be `shape` of them."""
    request = pb.ModelInferRequest(model_name="tensor-sum")
    request.inputs.add(name="x", datatype="BYTES", shape=[shape])
    request.raw_input_contents.append(bytes(4 * count))
    return request.SerializeToString()


def grpc_inputs(count: int) -> bytes:
    one = pb.ModelInferRequest(inputs=[Input(name="x", datatype="BYTES", shape=[1])])
    head = pb.ModelInferRequest(model_name="tensor-sum", id="7")
    return head.SerializeToString() + one.SerializeToString() * count


@pytest.mark.parametrize(
    ("call", "body", "status", "said"),
    [
        (path("text-model", "generate"), words, 413, "ask for it as a stream"),
        (path("text-model", "generate"), lambda: words(timeout=1000), 504, "after 0.001 s"),
        (path("tensor-sum", "infer"), lambda: inputs(1025), 413, "more than 1024 inputs"),
        (path("tensor-sum", "infer"), lambda: inputs(100_000), 413, "send"),
        (path("tensor-sum", "infer"), lambda: rows(MILLION), 413, "more than 65536 rows"),
        (path("tensor-sum", "infer_stream"), lambda: rows(MILLION), 413, "more than 65536 rows"),
    ],
    ids=["words", "words, in time", "inputs", "many inputs", "rows", "rows, streamed"],
)
async def test_json(
    service: Service, call: str, body: Callable[[], bytes], status: int, said: str
) -> None:
    async with httpx.AsyncClient(base_url=service.url, timeout=60) as client:
        answer = await client.post(call, content=body())
        assert (answer.status_code, said in answer.json()["error"]) == (status, True), answer.text
        assert (await client.get("/v2/health/live")).status_code == 200


@pytest.mark.parametrize(
    ("shape", "status", "said"),
    [(1, 400, "holds more than 1 element"), (MILLION, 413, "more than 65536 elements")],
)
async def test_binary(service: Service, shape: int, status: int, said: str) -> None:
    data = bytes(4 * MILLION)
    described = {"name": "x", "datatype": "BYTES", "shape": [shape]}
    head = {"inputs": [{**described, "parameters": {"binary_data_size": len(data)}}]}
    text = json.dumps(head).encode()
    async with httpx.AsyncClient(base_url=service.url, timeout=60) as client:
        answer = await client.post(
            path("tensor-sum", "infer"), content=text + data, headers={JSON_LENGTH: str(len(text))}
        )
    assert (answer.status_code, said in answer.json()["error"]) == (status, True), answer.text


@pytest.mark.parametrize(
    ("message", "code", "said"),
    [
        (raw_bytes(MILLION, 1), grpc.StatusCode.INVALID_ARGUMENT, "holds more than 1 element"),
        (raw_bytes(MILLION, MILLION), grpc.StatusCode.RESOURCE_EXHAUSTED, "65536 elements"),
        (grpc_inputs(MILLION), grpc.StatusCode.RESOURCE_EXHAUSTED, "1024 inputs"),
    ],
    ids=["elements, said to be one", "elements", "inputs"],
)
async def test_grpc(service: Service, message: bytes, code: grpc.StatusCode, said: str) -> None:
    for ask in (
        lambda: infer(service.grpc_address, message),
        lambda: infer(service.triton_address, message),
        lambda: stream(service.grpc_address, [message]),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await ask()
        assert caught.value.code() is code
        assert said in str(caught.value.details())


async def test_a_request_of_triton_s_stream_fails_under_its_own_id(service: Service) -> None:
    ((error, response),) = await triton_stream(service.triton_address, [grpc_inputs(MILLION)])
    assert "more than 1024 inputs" in error
    assert (response.id, response.model_name) == ("7", "tensor-sum")


async def test_a_large_json_tensor_is_answered(service: Service) -> None:
    numbers = [0.5] * MILLION
    body = {"inputs": [tensor("x", numbers, "FP32")]}
    async with httpx.AsyncClient(base_url=service.url, timeout=60) as client:
        answer = await client.post(path("tensor-sum", "infer"), json=body)
    assert answer.json()["outputs"][0]["data"] == [0.5 * MILLION, 0.5, 0.5]


async def test_a_recording_past_the_time_limit(service: Service) -> None:
    reading(0)  # or skip
    size = 30 * MILLION
    wav = struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", size + 36, b"WAVE", b"fmt ", 16, 1, 1,
                      16_000, 32_000, 2, 16, b"data", size) + bytes(size)  # fmt: skip
    raw = struct.pack("<I", len(wav)) + wav
    described = {"name": "audio", "datatype": "BYTES", "shape": [1]}
    head = {"inputs": [{**described, "parameters": {"binary_data_size": len(raw)}}]}
    text = json.dumps(head).encode()
    async with httpx.AsyncClient(base_url=service.url, timeout=60) as client:
        answer = await client.post(
            path("speech-model", "infer"), content=text + raw, headers={JSON_LENGTH: str(len(text))}
        )
    assert (answer.status_code, "more than 600 s" in answer.json()["error"]) == (413, True)


async def test_short_words_are_collected_as_ever(service: Service) -> None:
    async with httpx.AsyncClient(base_url=service.url, timeout=60) as client:
        answer = await client.post(path("text-model", "infer"), json=prompt("a b c"))
    assert answer.json()["outputs"][0]["data"] == ["a", " b", " c"]
