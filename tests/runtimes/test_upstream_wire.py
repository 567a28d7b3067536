import json
from typing import Any

import numpy as np
import pytest
from mlserver.grpc import dataplane_pb2 as pb
from mlserver.types import (
    InferenceRequest,
    InferenceResponse,
    Parameters,
    RequestInput,
    ResponseOutput,
    TensorData,
)

from mlserver_streaming.errors import BadRequestError
from mlserver_streaming.models.errors import RequestError
from mlserver_streaming.models.owned_id import OwnedId
from mlserver_streaming.rest import binary
from mlserver_streaming.rest.binary import BinaryOutputs
from mlserver_streaming.rpc import requests, responses
from mlserver_streaming.settings import LimitSettings
from mlserver_streaming.tensors.json_codec import encode_response
from mlserver_streaming.tensors.json_requests import decode_request
from mlserver_streaming.tensors.steps import finish
from runtimes.upstream.wire import (
    Dialect,
    UpstreamReplyError,
    decode_reply,
    decode_stream_reply,
    dialect_of,
    encode_request,
    raw_tensor,
)
from tests.runtimes.asking import ask


def tensor(datatype: str, shape: list[int], data: Any) -> RequestInput:
    return RequestInput.model_construct(
        name="x", datatype=datatype, shape=shape, data=TensorData.model_construct(root=data)
    )


SIZES = {"FP32": 4, "FP16": 2, "INT64": 8, "INT32": 4, "INT8": 1, "UINT8": 1}


@pytest.mark.parametrize(("datatype", "size"), SIZES.items())
def test_raw_data_must_be_of_the_size_of_shape_and_datatype(datatype: str, size: int) -> None:
    assert len(bytes(raw_tensor(tensor(datatype, [2, 3], [[1, 2, 3], [4, 5, 6]])))) == 6 * size
    with pytest.raises(RequestError) as raised:
        raw_tensor(tensor(datatype, [2, 3], [1, 2]))
    assert str(raised.value) == (
        f"Input 'x' is {datatype} of shape [2, 3], so {6 * size} bytes, "
        f"but its data has {2 * size}."
    )


def test_bytes() -> None:
    packed = raw_tensor(tensor("BYTES", [2], [b"ab", "ü"]))
    assert packed == b"\x02\0\0\0ab\x02\0\0\0" + "ü".encode()
    with pytest.raises(RequestError, match=r"so 2 element\(s\), but its data holds 1"):
        raw_tensor(tensor("BYTES", [2], [b"ab"]))


@pytest.mark.parametrize(
    ("datatype", "data"), [("COMPLEX64", [1]), ("FP32", ["a"]), ("INT8", [300]), ("FP32", [[1], 2])]
)
def test_data_that_is_not_of_its_datatype(datatype: str, data: Any) -> None:
    with pytest.raises(RequestError, match=r"[iI]nput 'x'"):
        raw_tensor(tensor(datatype, [1], data))


def test_numpy_views_are_passed_on_as_they_are() -> None:
    view = np.frombuffer(np.arange(6, dtype=np.float32).tobytes(), np.float32).reshape(2, 3)
    assert np.shares_memory(raw_tensor(tensor("FP32", [2, 3], view)), view)


def test_a_request() -> None:
    request = ask(
        "images",
        [1, 2],
        datatype="INT32",
        id="seven",
        confidence=0.5,
        track=True,
        sequence_id=2**63 + 1,
        classes=[1, 2],
        note="x",
        timeout=5,
        headers={"authorization": "secret"},
    )
    request.inputs[0].parameters = Parameters(content_type="np")
    message = pb.ModelInferRequest.FromString(encode_request(request, "there", "3"))
    assert (message.model_name, message.model_version, message.id) == ("there", "3", "seven")
    assert message.raw_input_contents[0] == b"\1\0\0\0\2\0\0\0"
    assert message.inputs[0].parameters["content_type"].string_param == "np"
    said = message.parameters
    assert set(said) == {"confidence", "track", "sequence_id", "classes", "note"}
    assert said["confidence"].string_param == "0.5"
    assert json.loads(said["classes"].string_param) == [1, 2]
    assert b"secret" not in message.SerializeToString()
    # Triton knows numbers with a fraction, as field 4; MLServer's message has no such field.
    precise = pb.ModelInferRequest.FromString(encode_request(request, "there", "3", doubles=True))
    assert precise.parameters["confidence"].WhichOneof("parameter_choice") is None


REPLY = pb.ModelInferResponse(
    model_name="there",
    model_version="1",
    id="7",
    outputs=[
        pb.ModelInferResponse.InferOutputTensor(name="a", datatype="FP32", shape=[2]),
        pb.ModelInferResponse.InferOutputTensor(name="b", datatype="BYTES", shape=[1]),
    ],
    raw_output_contents=[np.array([1, 2], np.float32).tobytes(), b"\3\0\0\0abc"],
)


def triton(error: str = "", reply: pb.ModelInferResponse | None = None) -> bytes:
    """ModelStreamInferResponse by hand: two fields with a length."""

    def field(number: int, data: bytes) -> bytes:
        size, encoded = len(data), bytearray()
        while size > 127:
            encoded.append(size & 127 | 128)
            size >>= 7
        return bytes([number << 3 | 2, *encoded, size]) + data

    parts = [field(1, error.encode())] if error else []
    return b"".join([*parts, field(2, reply.SerializeToString())] if reply else parts)


SHORT = pb.ModelInferResponse(model_name="there")
VERSIONED = pb.ModelInferResponse(model_name="there", model_version="1")


@pytest.mark.parametrize(
    ("message", "dialect"),
    [
        (REPLY.SerializeToString(), Dialect.MLSERVER),
        (SHORT.SerializeToString(), Dialect.MLSERVER),
        (VERSIONED.SerializeToString(), Dialect.MLSERVER),
        (triton(reply=REPLY), Dialect.TRITON),
        (triton(reply=SHORT), Dialect.TRITON),
        (triton("it broke", SHORT), Dialect.TRITON),
        (triton("there", SHORT), Dialect.TRITON),
        (triton("it broke"), Dialect.TRITON),
    ],
)
def test_dialects_are_told_apart(message: bytes, dialect: Dialect) -> None:
    assert dialect_of(message, "there") is dialect


@pytest.mark.parametrize(
    ("message", "dialect"),
    [(REPLY.SerializeToString(), Dialect.MLSERVER), (triton(reply=REPLY), Dialect.TRITON)],
)
def test_a_reply_in_either_dialect(message: bytes, dialect: Dialect) -> None:
    reply = decode_stream_reply(message, dialect)
    assert (reply.id, reply.error) == ("7", None)
    first, second = reply.outputs
    assert first.data.root.tolist() == [1, 2]
    assert second.data.root == [b"abc"]


def test_a_triton_error_keeps_its_request() -> None:
    reply = decode_stream_reply(triton("it broke", pb.ModelInferResponse(id="7")), Dialect.TRITON)
    assert (reply.id, reply.error, reply.outputs) == ("7", "it broke", [])


def test_typed_contents_and_parameters() -> None:
    message = pb.ModelInferResponse(
        id="7",
        parameters={
            "n": pb.InferParameter(int64_param=3),
            "triton_final_response": pb.InferParameter(bool_param=True),
        },
        outputs=[
            pb.ModelInferResponse.InferOutputTensor(
                name="a",
                datatype="FP32",
                shape=[2],
                contents=pb.InferTensorContents(fp32_contents=[1, 2]),
            )
        ],
    )
    reply = decode_reply(message.SerializeToString())
    assert reply.parameters == {"n": 3}
    assert reply.outputs[0].data.root == [1, 2]


@pytest.mark.parametrize("message", [b"\xff", b"\x0a\x05ab", b"\x0b", b"\x80" * 12])
def test_replies_that_are_none(message: bytes) -> None:
    with pytest.raises(UpstreamReplyError):
        dialect_of(message, "there")
        decode_stream_reply(message, Dialect.TRITON)
    with pytest.raises(UpstreamReplyError):
        decode_reply(message)


def test_an_output_of_another_size_than_it_says() -> None:
    message = pb.ModelInferResponse()
    message.CopyFrom(REPLY)
    message.raw_output_contents[0] = b"abc"
    with pytest.raises(UpstreamReplyError, match=r"output 'a' is FP32 of shape \[2\], but has 3"):
        decode_reply(message.SerializeToString())


def test_nothing_but_bytes_of_a_request_is_looked_into() -> None:
    request = InferenceRequest(id="1", inputs=ask("x", ["any text"]).inputs)
    message = pb.ModelInferRequest.FromString(encode_request(request, "m", ""))
    assert message.raw_input_contents[0] == b"\x08\0\0\0any text"


def test_an_upstream_meets_each_caller_s_sequences_under_ids_of_their_own() -> None:
    sent = [
        pb.ModelInferRequest.FromString(
            encode_request(ask("x", ["x"], sequence_id=OwnedId.of(who, 7)), "m", "", doubles=False)
        ).parameters["sequence_id"]
        for who in ("a", "b")
    ]
    assert [each.string_param for each in sent] == ["a/7", "b/7"]


# Every datatype that the protocol names.
NAMED = ["BF16", "BOOL", "BYTES", "FP16", "FP32", "FP64"]
NAMED += [f"{sign}INT{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)]
# One element of each, in its raw form; bits that are no number to those that look at them.
RAW = {"BYTES": b"\x02\0\0\0\xff\xfe", "BOOL": b"\x01"}


def raw_of(datatype: str) -> bytes:
    size = int("".join(filter(str.isdigit, datatype)) or 0) // 8
    return RAW.get(datatype, b"\xc1\x7f\xff\xff\xff\xff\xff\xff"[:size])


@pytest.mark.parametrize("datatype", NAMED)
@pytest.mark.parametrize("over", ["grpc", "binary HTTP"])
def test_a_tensor_of_any_datatype_passes_as_its_bytes(datatype: str, over: str):
    raw = raw_of(datatype)
    if over == "grpc":
        sent = pb.ModelInferRequest(model_name="here", raw_input_contents=[raw])
        sent.inputs.add(name="x", datatype=datatype, shape=[1])
        payload = finish(requests.decode(sent.SerializeToString(), LimitSettings())).payload
    else:
        tensor = {"name": "x", "datatype": datatype, "shape": [1]}
        parsed: dict[str, Any] = {
            "inputs": [{**tensor, "parameters": {"binary_data_size": len(raw)}}]
        }
        binary.attach_tensors(parsed, memoryview(raw))
        payload = finish(decode_request(parsed, LimitSettings()))
    passed = pb.ModelInferRequest.FromString(encode_request(payload, "there", ""))
    assert (passed.inputs[0].datatype, list(passed.raw_input_contents)) == (datatype, [raw])

    answered = pb.ModelInferResponse(model_name="there", raw_output_contents=[raw])
    answered.outputs.add(name="y", datatype=datatype, shape=[1])
    outputs = decode_reply(answered.SerializeToString()).outputs
    response = InferenceResponse.model_construct(model_name="here", outputs=outputs)
    for form in (raw_form(response), binary_form(response)):
        assert form == (datatype, raw)


def raw_form(response: InferenceResponse) -> tuple[str, bytes]:
    found = pb.ModelInferResponse.FromString(responses.encode_response(response, raw=True))
    return found.outputs[0].datatype, found.raw_output_contents[0]


def binary_form(response: InferenceResponse) -> tuple[str, bytes]:
    parts, length = finish(BinaryOutputs(all=True, named={}).written(response))
    body = b"".join(bytes(part) for part in parts)
    return json.loads(body[:length])["outputs"][0]["datatype"], body[length:]


def test_bf16_in_json_is_its_number_and_can_only_be_sent_as_bytes():
    bits = np.array([0x3FC0, 0xC000, 0x7F80], "<u2")  # 1.5, -2, infinity
    output = ResponseOutput.model_construct(
        name="y",
        datatype="BF16",
        shape=[3],
        parameters=None,
        data=TensorData.model_construct(root=bits),
    )
    response = InferenceResponse.model_construct(model_name="m", outputs=[output])
    assert json.loads(encode_response(response))["outputs"][0]["data"] == [1.5, -2.0, None]
    tensor = {"name": "x", "datatype": "BF16", "shape": [1], "data": [1.5]}
    with pytest.raises(BadRequestError, match="datatype"):
        finish(decode_request({"inputs": [tensor]}, LimitSettings()))
