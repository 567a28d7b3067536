"""Every bad input over gRPC: unary, streamed, and in Triton's dialect."""

from __future__ import annotations

import base64
import re

import cv2
import grpc
import numpy as np
import pytest
from mlserver.grpc import dataplane_pb2 as pb

from tests.live.grpc_calls import (
    error_of,
    infer,
    jpeg_request,
    raw_request,
    set_parameters,
    stream,
    text_request,
    triton_stream,
    words,
)
from tests.live.service import Service

Code = grpc.StatusCode


def jpeg(height: int = 24, width: int = 32) -> bytes:
    image = np.random.default_rng(1).integers(0, 255, (height, width, 3), np.uint8)
    return cv2.imencode(".jpg", image)[1].tobytes()


def huge_header() -> bytes:
    data = bytearray(jpeg())
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = (60000).to_bytes(2, "big") * 2
    return bytes(data)


def edited(request: pb.ModelInferRequest, **fields: object) -> pb.ModelInferRequest:
    for name, value in fields.items():
        setattr(request, name, value)
    return request


def tensor_edited(**fields: object) -> pb.ModelInferRequest:
    request = text_request("a b")
    for name, value in fields.items():
        setattr(request.inputs[0], name, value)
    return request


def shaped(*shape: int) -> pb.ModelInferRequest:
    request = text_request("a b")
    request.inputs[0].shape[:] = shape
    return request


def without_inputs() -> pb.ModelInferRequest:
    return set_parameters(pb.ModelInferRequest(model_name="text-model"), delay=0)


def raw_edited(*raw: bytes, datatype: str = "BYTES") -> pb.ModelInferRequest:
    request = text_request("a b")
    request.inputs[0].datatype = datatype
    request.raw_input_contents[:] = raw
    return request


def base64_typed(text: bytes) -> pb.ModelInferRequest:
    request = raw_request("jpeg-model", "image", [text])
    request.inputs[0].parameters["content_type"].string_param = "base64"
    return request


def sum_request(shape: list[int], raw: bytes) -> pb.ModelInferRequest:
    request = pb.ModelInferRequest(model_name="tensor-sum")
    request.inputs.add(name="x", datatype="FP32", shape=shape)
    request.raw_input_contents.append(raw)
    return request


BAD = {
    "unknown model": (edited(text_request("a"), model_name="nope"), Code.NOT_FOUND, "nope"),
    "unknown version": (edited(text_request("a"), model_version="9"), Code.NOT_FOUND, "'9'"),
    "no inputs": (without_inputs(), Code.INVALID_ARGUMENT, "no inputs"),
    "wrong input name": (tensor_edited(name="x"), Code.INVALID_ARGUMENT, "'prompt'"),
    "wrong datatype": (
        raw_edited(b"\0\0\0\0", datatype="FP32"),
        Code.INVALID_ARGUMENT,
        "BYTES",
    ),
    "unknown datatype": (tensor_edited(datatype="FP31"), Code.INVALID_ARGUMENT, "FP31"),
    "shape larger than data": (shaped(3), Code.INVALID_ARGUMENT, r"\[3\]"),
    "negative size": (shaped(-1), Code.INVALID_ARGUMENT, "negative"),
    "text not UTF-8": (text_request(b"ab\xff"), Code.FAILED_PRECONDITION, "UTF-8"),
    "not a JPEG": (jpeg_request(b"junk"), Code.FAILED_PRECONDITION, "not a JPEG"),
    "truncated JPEG": (jpeg_request(jpeg()[:-40]), Code.FAILED_PRECONDITION, "truncated"),
    "60000x60000": (jpeg_request(huge_header()), Code.FAILED_PRECONDITION, "megapixels"),
    "garbage base64": (base64_typed(b"@@@"), Code.FAILED_PRECONDITION, "base64"),
    "quality 0": (jpeg_request(jpeg(), quality=0), Code.INVALID_ARGUMENT, "1 to 100"),
    "quality high": (jpeg_request(jpeg(), quality="high"), Code.INVALID_ARGUMENT, "1 to 100"),
    "delay -1": (text_request("a", delay=-1), Code.INVALID_ARGUMENT, "0 to 10"),
    "delay 1e9": (text_request("a", delay=1e9), Code.INVALID_ARGUMENT, "0 to 10"),
    "raw size and shape": (sum_request([2, 2], b"\0" * 12), Code.INVALID_ARGUMENT, "16 bytes"),
    "raw count": (raw_edited(b"", b""), Code.INVALID_ARGUMENT, "raw_input_contents"),
    "raw length overruns": (
        raw_edited(b"\xff\0\0\0a"),
        Code.INVALID_ARGUMENT,
        "overruns",
    ),
    "sequence without START": (
        jpeg_request(jpeg(), sequence_id=99),
        Code.INVALID_ARGUMENT,
        "must specify the START flag on the first request of the sequence",
    ),
    "END without START": (
        jpeg_request(b"1", sequence_id=98, sequence_end=True),
        Code.INVALID_ARGUMENT,
        "START",
    ),
    "float sequence id": (
        jpeg_request(jpeg(), sequence_id=1.5, sequence_start=True),
        Code.INVALID_ARGUMENT,
        "sequence_id",
    ),
}
CASES = pytest.mark.parametrize(("request_", "code", "says"), BAD.values(), ids=BAD)


def check_sentence(text: str, says: str) -> None:
    assert re.search(says, text), text
    assert "Traceback" not in text
    assert "site-packages" not in text
    assert len(text) < 300
    assert "\n" not in text


async def assert_serves(service: Service) -> None:
    assert words(await stream(service.grpc_address, [text_request("still here")])) == [
        "still",
        " here",
    ]


@CASES
async def test_unary(service: Service, request_: pb.ModelInferRequest, code: Code, says: str):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await infer(service.grpc_address, request_)
    assert caught.value.code() is code
    check_sentence(caught.value.details() or "", says)
    await assert_serves(service)


@CASES
async def test_a_stream_whose_only_request_is_bad_ends_with_its_status(
    service: Service, request_: pb.ModelInferRequest, code: Code, says: str
):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stream(service.grpc_address, [request_])
    assert caught.value.code() is code
    check_sentence(caught.value.details() or "", says)
    await assert_serves(service)


@CASES
async def test_a_bad_request_among_good_ones_fails_alone(
    service: Service, request_: pb.ModelInferRequest, code: Code, says: str
):
    bad = pb.ModelInferRequest()
    bad.CopyFrom(request_)
    bad.id = "bad"
    good = [text_request("one", request_id="1"), text_request("two", request_id="2")]
    responses = await stream(service.grpc_address, [good[0], bad, good[1]])
    by_id = {response.id: response for response in responses}
    assert words([by_id["1"], by_id["2"]]) == ["one", "two"]
    failed = error_of(by_id["bad"])
    assert failed is not None
    check_sentence(failed[1], says)


@CASES
async def test_triton_dialect(
    service: Service, request_: pb.ModelInferRequest, code: Code, says: str
):
    bad = pb.ModelInferRequest()
    bad.CopyFrom(request_)
    bad.id = "bad"
    replies = await triton_stream(
        service.triton_address, [bad, text_request("fine", request_id="good")]
    )
    by_id = {response.id: (error, response) for error, response in replies}
    error, failed = by_id["bad"]
    check_sentence(error, says)
    assert failed.model_name == bad.model_name
    assert failed.parameters["triton_final_response"].bool_param
    assert by_id["good"][0] == ""
    assert words([by_id["good"][1]]) == ["fine"]


async def test_triton_clients_can_ask_for_a_real_status(service: Service):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await triton_stream(
            service.triton_address,
            [text_request("a", delay=-1)],
            metadata=(("triton_grpc_error", "true"),),
        )
    assert caught.value.code() is Code.INVALID_ARGUMENT


@pytest.mark.parametrize("garbage", [b"\xff\xff\xff", b"\x0a\xff", b"\x08" + b"\xff" * 20_000])
async def test_a_message_that_is_no_request(service: Service, garbage: bytes):
    for call in (infer(service.grpc_address, garbage), stream(service.grpc_address, [garbage])):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
        assert caught.value.code() is Code.INVALID_ARGUMENT
    responses = await stream(service.grpc_address, [text_request("a", request_id="1"), garbage])
    assert sorted(error_of(response) is None for response in responses) == [False, True]
    replies = await triton_stream(service.triton_address, [garbage, text_request("a")])
    assert sorted(bool(error) for error, _ in replies) == [False, True]


async def test_an_empty_stream_is_an_empty_answer(service: Service):
    assert await stream(service.grpc_address, []) == []
    assert await triton_stream(service.triton_address, []) == []


async def test_two_starts_and_two_ends(service: Service):
    start = jpeg_request(b"1", sequence_id=7, sequence_start=True, request_id="start")
    end = jpeg_request(b"1", sequence_id=7, sequence_end=True, request_id="end")
    frame = jpeg_request(jpeg(), sequence_id=7, request_id="frame")
    responses = await stream(service.grpc_address, [start, start, frame, end, end])
    errors = [error_of(response) for response in responses]
    assert [bool(error) for error in errors] == [False, True, False, False, True]
    assert errors[1] is not None and "under way" in errors[1][1]
    assert errors[4] is not None and "START" in errors[4][1]
    assert [len(response.outputs) for response in responses] == [0, 0, 1, 0, 0]


async def test_an_unexpected_exception_tells_nothing_but_the_request_id(service: Service):
    request = text_request("x", model="probe", request_id="r-1", steps=3, fail_at=1)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stream(service.grpc_address, [request])
    assert caught.value.code() is Code.INTERNAL
    assert "r-1" in (caught.value.details() or "")
    assert "secret" not in (caught.value.details() or "")
    assert "a secret that no client may see" in service.log.read_text()


async def test_base64_frames_are_answered_in_base64(service: Service):
    [response] = await stream(service.grpc_address, [jpeg_request(base64.b64encode(jpeg()))])
    answered = base64.b64decode(response.raw_output_contents[0][4:], validate=True)
    assert cv2.imdecode(np.frombuffer(answered, np.uint8), 1).shape == (24, 32, 3)


@pytest.mark.parametrize("size", [7_000, 5_000_000])
async def test_an_id_as_long_as_a_message_comes_back(service: Service, size: int):
    """The answer's headers repeat it where they may, and so does the log."""
    before = service.log.stat().st_size
    long = "x" * size
    unary = await infer(service.grpc_address, text_request("a b", request_id=long))
    assert unary.id == long
    streamed = await stream(service.grpc_address, [text_request("a b", request_id=long)])
    assert [each.id for each in streamed] == [long, long]
    replies = await triton_stream(service.triton_address, [text_request("a b", request_id=long)])
    assert [each.id for _, each in replies] == [long, long]
    assert service.log.stat().st_size - before < 10_000
