"""gRPC messages <-> V2 requests and responses."""

import json
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from mlserver.codecs import NumpyCodec
from mlserver.grpc import dataplane_pb2 as pb
from mlserver.grpc.converters import ModelInferRequestConverter
from mlserver.types import (
    InferenceRequest,
    InferenceResponse,
    Parameters,
    ResponseOutput,
    TensorData,
)

from mlserver_streaming.errors import BadRequestError
from mlserver_streaming.models.parameters import number
from mlserver_streaming.rpc import requests, responses
from mlserver_streaming.rpc.parameters import decode_parameters, encode_parameters
from mlserver_streaming.rpc.requests import SMALL_MESSAGE_BYTES, DecodedRequest
from mlserver_streaming.rpc.responses import encode_response
from mlserver_streaming.rpc.typed_contents import CONTENTS
from mlserver_streaming.settings import LimitSettings
from mlserver_streaming.tensors.raw import BYTES, DTYPES, pack_bytes
from mlserver_streaming.tensors.steps import finish

# Two elements of each datatype, its limits where it has some.
SAMPLES: dict[str, list[Any]] = {
    "BOOL": [True, False],
    "FP16": [-65504.0, 0.5],
    "FP32": [-1.5, 2.0**-149],
    "FP64": [-1e308, 0.1],
    BYTES: [b"\xff\xd8\x00", b""],
    **{
        datatype: [int(np.iinfo(DTYPES[datatype]).min), int(np.iinfo(DTYPES[datatype]).max)]
        for datatype in DTYPES
        if "INT" in datatype
    },
}
TYPED = sorted(CONTENTS)
ALL = sorted(SAMPLES)


def message(
    datatype: str,
    elements: list[Any],
    shape: list[int] | None = None,
    *,
    raw: bool,
    parameters: dict[str, pb.InferParameter] | None = None,
) -> bytes:
    """A serialised request with one input `x`."""
    request = pb.ModelInferRequest(model_name="m", model_version="1", id="r", parameters=parameters)
    tensor = request.inputs.add(
        name="x", datatype=datatype, shape=[len(elements)] if shape is None else shape
    )
    if raw:
        packed = (
            pack_bytes(elements)
            if datatype == BYTES
            else np.array(elements, DTYPES[datatype]).tobytes()
        )
        request.raw_input_contents.append(packed)
    else:
        tensor.contents.SetInParent()
        getattr(tensor.contents, CONTENTS[datatype]).extend(elements)
    return request.SerializeToString()


def decode(received: bytes) -> DecodedRequest:
    return finish(requests.decode(received, LimitSettings()))


def data_of(request: DecodedRequest, index: int = 0) -> Any:
    return request.payload.inputs[index].data.root


def response(datatype: str, data: Any, shape: list[int], **parameters: Any) -> InferenceResponse:
    return InferenceResponse.model_construct(
        model_name="m",
        model_version=None,
        id="r",
        parameters=Parameters(**parameters) if parameters else None,
        outputs=[
            ResponseOutput.model_construct(
                name="y",
                datatype=datatype,
                shape=shape,
                parameters=None,
                data=TensorData.model_construct(root=data),
            )
        ],
    )


def answered(sent: InferenceResponse, *, raw: bool) -> pb.ModelInferResponse:
    """The response as a client parses it."""
    return pb.ModelInferResponse.FromString(encode_response(sent, raw))


# -- requests --


@pytest.mark.parametrize("datatype", ALL)
def test_raw_tensors_of_every_datatype_arrive(datatype: str) -> None:
    decoded = decode(message(datatype, SAMPLES[datatype], raw=True))
    assert (decoded.model_name, decoded.model_version, decoded.raw) == ("m", "1", True)
    assert decoded.payload.id == "r"
    (tensor,) = decoded.payload.inputs
    assert (tensor.name, tensor.datatype, tensor.shape) == ("x", datatype, [2])
    assert list(data_of(decoded)) == SAMPLES[datatype]
    if datatype != BYTES:
        assert data_of(decoded).dtype == DTYPES[datatype]


@pytest.mark.parametrize("datatype", TYPED)
def test_typed_tensors_of_every_datatype_arrive(datatype: str) -> None:
    decoded = decode(message(datatype, SAMPLES[datatype], raw=False))
    assert not decoded.raw
    assert data_of(decoded) == SAMPLES[datatype]


@pytest.mark.parametrize("raw", [True, False])
@pytest.mark.parametrize("datatype", TYPED)
@pytest.mark.parametrize(("shape", "count"), [([], 1), ([0], 0), ([2, 0, 3], 0), ([1, 2, 1], 2)])
def test_scalars_and_tensors_without_elements_arrive(
    datatype: str, shape: list[int], count: int, raw: bool
) -> None:
    decoded = decode(message(datatype, SAMPLES[datatype][:count], shape, raw=raw))
    assert decoded.payload.inputs[0].shape == shape
    found = data_of(decoded)
    assert list(np.asarray(found, object).reshape(-1)) == SAMPLES[datatype][:count]


@pytest.mark.parametrize("elements", [1, 100_000])
def test_a_large_raw_tensor_is_a_view_of_the_received_message(elements: int) -> None:
    received = message("FP32", [1.0] * elements, raw=True)
    tensor = data_of(decode(received))
    assert isinstance(tensor, np.ndarray)
    is_large = len(received) >= SMALL_MESSAGE_BYTES
    assert np.shares_memory(tensor, np.frombuffer(received, np.uint8)) == is_large
    assert tensor.sum() == elements


def test_stock_runtimes_can_read_raw_and_typed_tensors() -> None:
    for raw in (True, False):
        decoded = decode(message("FP32", [1.0, 2.0, 3.0, 4.0], [2, 2], raw=raw))
        array = NumpyCodec.decode_input(decoded.payload.inputs[0])
        assert (array.tolist(), array.dtype) == ([[1, 2], [3, 4]], np.float32)


def test_what_mlserver_s_own_client_code_sends_arrives() -> None:
    sent = InferenceRequest(
        id="7",
        parameters={"temperature": 1, "name": "a", "on": True},
        inputs=[
            {"name": "x", "datatype": "BYTES", "shape": [1], "data": [b"prompt"]},
            {"name": "y", "datatype": "INT32", "shape": [2], "data": [1, 2]},
        ],
        outputs=[{"name": "z", "parameters": {"binary": True}}],
    )
    wire = ModelInferRequestConverter.from_types(sent, model_name="m", model_version="")
    decoded = decode(wire.SerializeToString())
    assert [data_of(decoded, index) for index in (0, 1)] == [[b"prompt"], [1, 2]]
    assert decoded.payload.parameters.model_extra == {"temperature": 1, "name": "a", "on": True}
    assert [output.name for output in decoded.payload.outputs] == ["z"]
    assert decoded.payload.outputs[0].parameters.model_extra == {"binary": True}


@pytest.mark.parametrize("size", [1, SMALL_MESSAGE_BYTES])
def test_several_raw_tensors_keep_their_order(size: int) -> None:
    request = pb.ModelInferRequest(model_name="m")
    for index in range(3):
        request.inputs.add(name=str(index), datatype="UINT8", shape=[size])
        request.raw_input_contents.append(bytes([index]) * size)
    decoded = decode(request.SerializeToString())
    for index, tensor in enumerate(decoded.payload.inputs):
        assert tensor.name == str(index)
        assert set(tensor.data.root.tolist()) == {index}


def with_inputs(*inputs: dict[str, Any], raw: list[bytes] | None = None) -> bytes:
    return pb.ModelInferRequest(
        model_name="m",
        inputs=[
            pb.ModelInferRequest.InferInputTensor(**{"name": "x", "shape": [2], **each})
            for each in inputs
        ],
        raw_input_contents=raw or [],
    ).SerializeToString()


ONES = pb.InferTensorContents(fp32_contents=[1, 1])
MISTAKES = {
    "raw too short": with_inputs({"datatype": "FP32"}, raw=[bytes(7)]),
    "raw too long": with_inputs({"datatype": "FP32"}, raw=[bytes(9)]),
    "raw missing": with_inputs({"datatype": "FP32"}, {"datatype": "FP32"}, raw=[bytes(8)]),
    "raw left over": with_inputs({"datatype": "FP32"}, raw=[bytes(8), bytes(8)]),
    "raw beside typed": with_inputs({"datatype": "FP32", "contents": ONES}, raw=[bytes(8)]),
    "no data": with_inputs({"datatype": "FP32"}),
    "too many typed": with_inputs({"datatype": "FP32", "shape": [1], "contents": ONES}),
    "too few typed": with_inputs({"datatype": "FP32", "shape": [3], "contents": ONES}),
    "typed in another field": with_inputs({"datatype": "INT32", "contents": ONES}),
    "typed FP16": with_inputs({"datatype": "FP16", "contents": ONES}),
    "typed in two fields": with_inputs(
        {
            "datatype": "FP32",
            "contents": pb.InferTensorContents(fp32_contents=[1, 1], fp64_contents=[1, 1]),
        }
    ),
    "typed past the datatype": with_inputs(
        {"datatype": "INT8", "contents": pb.InferTensorContents(int_contents=[0, 128])}
    ),
    "negative size": with_inputs({"datatype": "FP32", "shape": [-1]}, raw=[bytes(8)]),
    "negative sizes": with_inputs({"datatype": "FP32", "shape": [-1, -2]}, raw=[bytes(8)]),
    "impossible size": with_inputs({"datatype": "FP32", "shape": [0, 2**62, 2**62]}, raw=[b""]),
    "dimensions": with_inputs({"datatype": "FP32", "shape": [1] * 100}, raw=[bytes(4)]),
    "unknown datatype": with_inputs({"datatype": "FP8"}, raw=[bytes(8)]),
    "long datatype": with_inputs({"datatype": "F" * 10_000}, raw=[bytes(8)]),
    "no datatype": with_inputs({}, raw=[bytes(8)]),
    "bytes that overrun": with_inputs({"datatype": BYTES}, raw=[b"\x09\0\0\0overrun"]),
    "too few bytes": with_inputs({"datatype": BYTES}, raw=[pack_bytes(["one"])]),
}


@pytest.mark.parametrize("received", MISTAKES.values(), ids=MISTAKES)
def test_a_tensor_that_contradicts_itself_is_400_in_one_sentence(received: bytes) -> None:
    with pytest.raises(BadRequestError) as caught:
        decode(received)
    assert caught.value.status_code == 400
    sentence = str(caught.value)
    assert sentence.endswith(".") and "\n" not in sentence
    assert len(sentence) < 600


def test_a_parameter_that_mlserver_gives_a_type_may_not_have_another() -> None:
    parameters = {"headers": pb.InferParameter(string_param="Authorization: me")}
    with pytest.raises(BadRequestError, match="'headers'"):
        decode(message("FP32", [1.0], raw=True, parameters=parameters))


@given(st.binary(max_size=300))
def test_any_bytes_are_a_request_or_a_400(received: bytes) -> None:
    try:
        assert isinstance(decode(received), DecodedRequest)
    except BadRequestError as error:
        assert error.status_code == 400


@given(st.binary(max_size=300))
def test_any_bytes_of_a_large_message_are_a_request_or_a_400(received: bytes) -> None:
    """Large messages are read by code of ours."""
    padding = pb.ModelInferRequest(id="x" * SMALL_MESSAGE_BYTES).SerializeToString()
    for whole in (padding + received, received + padding):
        try:
            assert isinstance(decode(whole), DecodedRequest)
        except BadRequestError as error:
            assert error.status_code == 400


TENSORS = st.fixed_dictionaries(
    {
        "name": st.text(max_size=5),
        "datatype": st.sampled_from([*ALL, "", "FP8"]),
        "shape": st.lists(st.integers(-1, 3) | st.integers(-(2**63), 2**63 - 1), max_size=4),
    },
    optional={
        "contents": st.builds(
            pb.InferTensorContents,
            bytes_contents=st.lists(st.binary(max_size=4), max_size=3),
            int_contents=st.lists(st.integers(-(2**31), 2**31 - 1), max_size=3),
            fp32_contents=st.lists(st.floats(width=32), max_size=3),
        )
    },
)


@given(st.lists(TENSORS, max_size=3), st.lists(st.binary(max_size=40), max_size=3))
def test_any_tensors_are_a_request_whose_data_fit_or_a_400(
    tensors: list[dict[str, Any]], raw: list[bytes]
) -> None:
    try:
        decoded = decode(with_inputs(*tensors, raw=raw))
    except BadRequestError:
        return
    for tensor in decoded.payload.inputs:
        assert np.prod(tensor.shape, dtype=object) == np.asarray(tensor.data.root, object).size


@given(st.data(), st.sampled_from(sorted(SAMPLES)))
def test_changed_bytes_of_a_request_are_a_request_or_a_400(
    data: st.DataObject, datatype: str
) -> None:
    received = bytearray(message(datatype, SAMPLES[datatype], raw=True))
    for _ in range(data.draw(st.integers(1, 4))):
        received[data.draw(st.integers(0, len(received) - 1))] = data.draw(st.integers(0, 255))
    try:
        decode(bytes(received))
    except BadRequestError as error:
        assert error.status_code == 400


# -- responses --


@pytest.mark.parametrize("raw", [True, False])
@pytest.mark.parametrize("datatype", TYPED)
@pytest.mark.parametrize("kept_as", ["list", "numpy"])
def test_responses_of_every_datatype_reach_the_client_in_the_form_asked(
    datatype: str, raw: bool, kept_as: str
) -> None:
    elements = SAMPLES[datatype]
    kept: Any = elements
    if kept_as == "numpy":
        kept = np.array(elements, object if datatype == BYTES else DTYPES[datatype])
    got = answered(response(datatype, kept, [2]), raw=raw)
    assert (got.model_name, got.id) == ("m", "r")
    (output,) = got.outputs
    assert (output.name, output.datatype, list(output.shape)) == ("y", datatype, [2])
    if raw:
        assert not output.HasField("contents")
        (data,) = got.raw_output_contents
        expected = (
            pack_bytes(elements)
            if datatype == BYTES
            else np.array(elements, DTYPES[datatype]).tobytes()
        )
        assert data == expected
    else:
        assert list(got.raw_output_contents) == []
        assert list(getattr(output.contents, CONTENTS[datatype])) == elements


@given(st.data(), st.sampled_from(sorted(DTYPES)))
def test_any_array_comes_back_bit_for_bit(data: st.DataObject, datatype: str) -> None:
    shapes = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3)
    array = data.draw(hnp.arrays(DTYPES[datatype], shapes))
    got = answered(response(datatype, array, list(array.shape)), raw=True)
    assert list(got.outputs[0].shape) == list(array.shape)
    assert got.raw_output_contents[0] == array.tobytes()


def test_fp16_travels_raw_because_it_has_no_typed_field() -> None:
    got = answered(response("FP16", np.array([1, 2], "<f2"), [2]), raw=False)
    assert got.raw_output_contents[0] == np.array([1, 2], "<f2").tobytes()


def test_text_is_utf8_and_nesting_is_undone() -> None:
    sent = response(BYTES, [["é"], ["b"]], [2, 1])
    assert list(answered(sent, raw=False).outputs[0].contents.bytes_contents) == [
        "é".encode(),
        b"b",
    ]
    assert answered(sent, raw=True).raw_output_contents[0] == pack_bytes(["é", "b"])


def test_a_response_as_stock_runtimes_build_it() -> None:
    sent = InferenceResponse(
        model_name="m",
        model_version="1",
        outputs=[NumpyCodec.encode_output("y", np.array([[1, 2]], np.float32))],
    )
    got = answered(sent, raw=True)
    assert (got.model_version, got.id, list(got.outputs[0].shape)) == ("1", "", [1, 2])
    assert np.frombuffer(got.raw_output_contents[0], "<f4").tolist() == [1, 2]


def test_a_response_without_outputs_is_one() -> None:
    sent = InferenceResponse.model_construct(
        model_name="m", id="r", outputs=[], parameters=Parameters(error="no", error_code=422)
    )
    got = answered(sent, raw=True)
    assert list(got.outputs) == []
    assert got.parameters["error"].string_param == "no"
    assert got.parameters["error_code"].int64_param == 422


def test_a_long_id_comes_back_and_is_not_kept_for_later() -> None:
    sent = response("FP32", [1.0], [1])
    sent.id = "long" * 100_000
    before = responses._head.cache_info().currsize
    assert answered(sent, raw=True).id == sent.id
    assert responses._head.cache_info().currsize == before


# -- parameters --

VALUES: dict[str, Any] = {
    "true": True,
    "false": False,
    "zero": 0,
    "lowest": -(2**63),
    "highest": 2**63 - 1,
    "above": 2**63,
    "uint64": 2**64 - 1,
    "tenth": 0.1,
    "whole": 2.0,
    "infinite": float("inf"),
    "text": "naïve",
    "nothing": "",
}


def through_the_wire(values: dict[str, Any]) -> dict[str, Any]:
    sent = pb.ModelInferResponse()
    encode_parameters(sent.parameters, Parameters(**values))
    received = pb.ModelInferResponse.FromString(sent.SerializeToString())
    back = decode_parameters(received.parameters)
    return {} if back is None else dict(back.model_extra)


def test_parameters_of_every_kind_survive_both_ways() -> None:
    back = through_the_wire(VALUES)
    assert back == VALUES
    assert {name: type(value) for name, value in back.items()} == {
        name: type(value) for name, value in VALUES.items()
    }


@given(
    st.dictionaries(
        st.text(max_size=5).filter(lambda name: name not in ("content_type", "headers")),
        st.booleans()
        | st.integers(-(2**63), 2**64 - 1)
        | st.floats(allow_nan=False)
        | st.text(max_size=5),
        max_size=4,
    )
)
def test_any_parameters_survive_both_ways(values: dict[str, Any]) -> None:
    assert through_the_wire(values) == values


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ([1, "a"], '[1,"a"]'),
        ({"a": [1]}, '{"a":[1]}'),
        (2**64, str(2**64)),
        (-(2**63) - 1, str(-(2**63) - 1)),
    ],
)
def test_a_value_of_no_kind_travels_as_text(value: Any, text: str) -> None:
    assert through_the_wire({"value": value}) == {"value": text}


def test_nothing_is_not_sent_and_numpy_s_numbers_are_numbers() -> None:
    assert through_the_wire({"none": None, "n": np.int64(7), "b": np.bool_(True)}) == {
        "n": 7,
        "b": True,
    }
    assert through_the_wire({"f": np.float32(0.5)}) == {"f": 0.5}


def test_the_content_type_of_a_tensor_survives_and_headers_do_not() -> None:
    sent = pb.ModelInferResponse()
    encode_parameters(
        sent.parameters, Parameters(content_type="base64", headers={"Ce-Id": "r"}, more=1)
    )
    assert set(sent.parameters) == {"content_type", "more"}
    assert decode_parameters(sent.parameters).content_type == "base64"


# -- the same, read and written by Triton's client, whose protobuf needs a process of its own --

TRITON = """
import json, sys
from tritonclient.grpc import service_pb2 as pb

given = json.load(sys.stdin)
response = pb.ModelInferResponse.FromString(bytes.fromhex(given["response"]))
kinds = {
    name: [parameter.WhichOneof("parameter_choice"), parameter.WhichOneof("parameter_choice")
           and getattr(parameter, parameter.WhichOneof("parameter_choice"))]
    for name, parameter in response.parameters.items()
}
request = pb.ModelInferRequest(model_name="m", id="r")
request.parameters["double"].double_param = 0.1
request.parameters["uint64"].uint64_param = 2**64 - 1
request.parameters["int64"].int64_param = -1
request.parameters["text"].string_param = "naïve"
request.parameters["flag"].bool_param = True
request.inputs.add(name="x", datatype="FP32", shape=[2])
request.raw_input_contents.append(bytes(8))
json.dump({"kinds": kinds, "request": request.SerializeToString().hex()}, sys.stdout)
"""


def test_triton_s_client_and_this_service_understand_each_other_s_parameters() -> None:
    sent = encode_response(
        response("FP32", [1.0], [1], double=0.1, uint64=2**64 - 1, int64=-1, text="é", flag=True),
        raw=True,
    )
    done = subprocess.run(
        [sys.executable, "-c", TRITON],
        input=json.dumps({"response": sent.hex()}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    got = json.loads(done.stdout)
    assert got["kinds"] == {
        "double": ["double_param", 0.1],
        "uint64": ["uint64_param", 2**64 - 1],
        "int64": ["int64_param", -1],
        "text": ["string_param", "é"],
        "flag": ["bool_param", True],
    }
    asked = decode(bytes.fromhex(got["request"]))
    assert asked.payload.parameters.model_extra == {
        "double": 0.1,
        "uint64": 2**64 - 1,
        "int64": -1,
        "text": "naïve",
        "flag": True,
    }


@pytest.mark.parametrize(("given", "got"), [(0.25, 9), ("0.25", 0.25), (1, 1)])
def test_mlservers_own_converter_sends_a_fraction_as_text_only(given: Any, got: float):
    """docs/clients.md says so; when MLServer sends floats, it need not any more."""
    request = InferenceRequest(inputs=[], parameters=Parameters(delay=given))
    message = ModelInferRequestConverter.from_types(request, model_name="m", model_version=None)
    found = finish(requests.decode(message.SerializeToString(), LimitSettings())).payload
    assert number(found, "delay", 9, 0, 10) == got
