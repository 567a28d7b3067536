"""Tensors that lie in regions, on their way in and out."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from mlserver.grpc import dataplane_pb2 as pb
from mlserver.types import InferenceResponse, Parameters, ResponseOutput, TensorData

from mlserver_streaming.errors import (
    BadRequestError,
    MLServerError,
    NoSuchRegionError,
    TooLargeError,
    UnsupportedError,
)
from mlserver_streaming.regions.regions import CallerRegions, Own, Regions
from mlserver_streaming.regions.spans import Span, spans_of, written
from mlserver_streaming.rest.binary import BinaryOutputs
from mlserver_streaming.rest.shared_memory import attach_regions
from mlserver_streaming.rpc.requests import DecodedRequest, decode
from mlserver_streaming.rpc.responses import encode_response
from mlserver_streaming.settings import LimitSettings, SharedMemorySettings
from mlserver_streaming.tensors.json_codec import encode_response as encode_json
from mlserver_streaming.tensors.json_requests import decode_request
from mlserver_streaming.tensors.json_responses import written as in_json
from mlserver_streaming.tensors.raw import pack_bytes
from mlserver_streaming.tensors.steps import finish
from tests.regions.files import MakeFile

NUMBERS = np.arange(6, dtype=np.float32).reshape(2, 3)
TEXTS = [b"one", b"", "zwölf".encode()]
CONTENT = NUMBERS.tobytes() + pack_bytes(TEXTS)
LIMITS = LimitSettings()


@pytest.fixture
def own(make_file: MakeFile) -> CallerRegions:
    """A region `in` with NUMBERS and then TEXTS, and an empty one `out` of 64 bytes."""
    found = Regions(SharedMemorySettings(enabled=True)).of(is_local=True)
    found.register("in", make_file(CONTENT).name, 0, len(CONTENT))
    found.register("out", make_file(bytes(64)).name, 0, 64)
    return found


def place(region: Any = "in", size: Any = 24, offset: Any = None) -> dict[str, Any]:
    given = {"shared_memory_region": region, "shared_memory_byte_size": size}
    if offset is not None:
        given["shared_memory_offset"] = offset
    return {name: value for name, value in given.items() if value is not None}


def over_grpc(own: Own, given: dict[str, Any], kind: str, shape: list[int]) -> Any:
    request = pb.ModelInferRequest(model_name="m")
    tensor = request.inputs.add(name="x", datatype=kind, shape=shape)
    for name, value in given.items():
        field = {str: "string_param", int: "int64_param", bool: "bool_param"}[type(value)]
        setattr(tensor.parameters[name], field, value)
    return decoded(request, own).payload.inputs[0]


def decoded(request: pb.ModelInferRequest, own: Own) -> DecodedRequest:
    return finish(decode(request.SerializeToString(), LIMITS, own))


def over_http(own: Own, given: dict[str, Any], kind: str, shape: list[int]) -> Any:
    tensor = {"name": "x", "datatype": kind, "shape": shape, "parameters": dict(given)}
    parsed = {"inputs": [tensor]}
    finish(attach_regions(parsed, LIMITS, own))
    return finish(decode_request(parsed, LIMITS)).inputs[0]


@pytest.fixture(params=[over_grpc, over_http])
def read(request: pytest.FixtureRequest) -> Any:
    return request.param


def test_numbers_are_a_read_only_array(read: Any, own: CallerRegions) -> None:
    tensor = read(lambda: own, place() | {"content_type": "np"}, "FP32", [2, 3])
    assert np.array_equal(tensor.data.root, NUMBERS)
    assert not tensor.data.root.flags.writeable
    # Nothing of it reaches a model, what else there is does.
    assert tensor.parameters.content_type == "np"
    assert not tensor.parameters.model_extra


def test_texts_have_their_lengths_before_them(read: Any, own: CallerRegions) -> None:
    tensor = read(lambda: own, place(size=len(CONTENT) - 24, offset=24), "BYTES", [3])
    assert tensor.data.root == TEXTS


@pytest.mark.parametrize(
    ("given", "kind", "error", "text"),
    [
        (place("nope"), "FP32", NoSuchRegionError, "You have no region 'nope'"),
        (place(7), "FP32", BadRequestError, "must be a region's name"),
        (place(size=None), "FP32", BadRequestError, "'shared_memory_byte_size' of input 'x' must"),
        (place(size=-1), "FP32", BadRequestError, "a number of bytes, 0 or more"),
        (place(size=True), "FP32", BadRequestError, "a number of bytes, 0 or more"),
        (place(size="24"), "FP32", BadRequestError, "a number of bytes, 0 or more"),
        (place(offset=-8), "FP32", BadRequestError, "'shared_memory_offset' of input 'x' must"),
        (place(offset=len(CONTENT)), "FP32", BadRequestError, "are past its end"),
        (place(size=2**62), "FP32", BadRequestError, "are past its end"),
        (place(size=20), "FP32", BadRequestError, "so 24 bytes, but its raw data has 20"),
        (place(), "BYTES", BadRequestError, "element"),
    ],
)
def test_one_sentence_says_what_is_wrong(
    given: dict[str, Any],
    kind: str,
    error: type[MLServerError],
    text: str,
    read: Any,
    own: CallerRegions,
) -> None:
    with pytest.raises(error, match=text):
        read(lambda: own, given, kind, [2, 3])


def test_data_come_once(own: CallerRegions) -> None:
    request = pb.ModelInferRequest(model_name="m")
    tensor = request.inputs.add(name="x", datatype="FP32", shape=[1])
    tensor.parameters["shared_memory_region"].string_param = "in"
    tensor.contents.fp32_contents.append(1)
    with pytest.raises(BadRequestError, match="both contents and a region"):
        decoded(request, lambda: own)
    twice = {"inputs": [{"name": "x", "parameters": place(), "data": [1]}]}
    with pytest.raises(BadRequestError, match="both data and a region"):
        finish(attach_regions(twice, LIMITS, lambda: own))


def test_a_request_s_regions_count_as_its_body_does(read: Any, make_file: MakeFile) -> None:
    own = Regions(SharedMemorySettings(enabled=True)).of(is_local=True)
    size = LIMITS.request_bytes + 4
    path = make_file(b"")
    with path.open("r+b") as file:
        file.truncate(size)  # a hole: it takes no memory
    own.register("in", path.name, 0, size)
    with pytest.raises(TooLargeError, match="in shared memory have more than"):
        read(lambda: own, place(size=size), "UINT8", [size])


def test_a_wire_that_knows_of_no_regions_refuses_them() -> None:
    request = pb.ModelInferRequest(model_name="m")
    tensor = request.inputs.add(name="x", datatype="FP32", shape=[1])
    tensor.parameters["shared_memory_region"].string_param = "in"
    with pytest.raises(UnsupportedError, match="Shared memory is off here"):
        finish(decode(request.SerializeToString(), LIMITS))


def test_inputs_in_a_region_and_in_the_message_go_together(own: CallerRegions) -> None:
    request = pb.ModelInferRequest(model_name="m")
    for name in "abc":
        request.inputs.add(name=name, datatype="FP32", shape=[2, 3])
    for name, value in place().items():
        kind = "string_param" if isinstance(value, str) else "int64_param"
        setattr(request.inputs[1].parameters[name], kind, value)
    request.raw_input_contents.extend([NUMBERS.tobytes(), (2 * NUMBERS).tobytes()])
    found = decoded(request, lambda: own)
    read = [tensor.data.root for tensor in found.payload.inputs]
    assert [float(each[1, 2]) for each in read] == [5, 5, 10]
    assert found.raw


def output(name: str, kind: str, shape: list[int], data: Any, **said: Any) -> ResponseOutput:
    return ResponseOutput.model_construct(
        name=name,
        datatype=kind,
        shape=shape,
        parameters=Parameters(**said) if said else None,
        data=TensorData.model_construct(root=data),
    )


def answer(*outputs: ResponseOutput) -> InferenceResponse:
    return InferenceResponse.model_construct(
        model_name="m", id="1", parameters=None, outputs=list(outputs)
    )


def test_outputs_are_written_and_leave_without_data(own: CallerRegions) -> None:
    given = answer(
        output("y", "FP32", [2, 3], NUMBERS, content_type="np", unit="m"),
        output("z", "BYTES", [3], TEXTS),
        output("rest", "INT32", [1], [7]),
    )
    region = own.find("out")
    spans = {"y": Span(region, 0, 24), "z": Span(region, 24, 40)}
    found = finish(written(given, spans))
    assert bytes(finish(region.read(0, len(CONTENT)))) == CONTENT
    # The model may give the same response again.
    assert given.outputs[0].data.root is NUMBERS
    text = encode_json(found)
    assert text == (
        b'{"model_name":"m","id":"1","outputs":[{"name":"y","shape":[2,3],"datatype":"FP32",'
        b'"parameters":{"content_type":"np","unit":"m","shared_memory_region":"out",'
        b'"shared_memory_byte_size":24}},{"name":"z","shape":[3],"datatype":"BYTES","parameters":'
        b'{"shared_memory_region":"out","shared_memory_byte_size":21,"shared_memory_offset":24}},'
        b'{"name":"rest","shape":[1],"datatype":"INT32","data":[7]}]}'
    )
    parts, length = finish(BinaryOutputs(True, {}).written(found))
    body = b"".join(parts)
    assert body[length:] == (7).to_bytes(4, "little")
    assert body[:length].count(b"binary_data_size") == 1
    message = pb.ModelInferResponse.FromString(encode_response(found, raw=True))
    # Triton's clients count them: an output in a region has an empty one.
    assert [len(raw) for raw in message.raw_output_contents] == [0, 0, 4]
    assert message.outputs[1].parameters["shared_memory_byte_size"].int64_param == 21
    typed = pb.ModelInferResponse.FromString(encode_response(found, raw=False))
    assert [list(each.contents.int_contents) for each in typed.outputs] == [[], [], [7]]
    assert not typed.outputs[0].contents.fp32_contents


def test_large_answers_beside_one_in_a_region(own: CallerRegions) -> None:
    many = np.arange(100_000, dtype=np.int32)
    given = answer(output("y", "FP32", [2, 3], NUMBERS), output("many", "INT32", [100_000], many))
    found = finish(written(given, {"y": Span(own.find("out"), 0, 24)}))
    parts, length = finish(BinaryOutputs(False, {"many": True}).written(found))
    assert b'"data"' not in b"".join(parts)[:length]
    read = json.loads(b"".join(finish(in_json(found))))
    assert "data" not in read["outputs"][0]
    assert read["outputs"][1]["data"] == many.tolist()


def test_an_output_that_does_not_fit_is_not_written(own: CallerRegions) -> None:
    region = own.find("out")
    with pytest.raises(BadRequestError, match="has 24 bytes, but its part of region 'out' only 20"):
        finish(written(answer(output("y", "FP32", [2, 3], NUMBERS)), {"y": Span(region, 0, 20)}))
    assert not any(finish(region.read(0, 64)))


def test_a_model_sees_the_outputs_that_it_would_see_without(own: CallerRegions) -> None:
    request = pb.ModelInferRequest(model_name="m")
    for name in ("y", "z"):
        request.outputs.add(name=name)
    for name, value in place("out", 24).items():
        kind = "string_param" if isinstance(value, str) else "int64_param"
        setattr(request.outputs[0].parameters[name], kind, value)
    request.outputs[0].parameters["classification"].int64_param = 3
    payload = decoded(request, lambda: own).payload
    assert payload.outputs is not None
    assert [each.name for each in payload.outputs] == ["y", "z"]
    assert payload.outputs[0].parameters.model_extra == {"classification": 3}
    assert list(spans_of(payload)) == ["y"]


def test_where_a_model_says_that_an_output_lies_gives_way_to_where_it_does(
    own: CallerRegions,
) -> None:
    given = {"shared_memory_region": "mine", "shared_memory_offset": 7, "layout": "row"}
    output = ResponseOutput(
        name="y", datatype="FP32", shape=[6], data=[1.0] * 6, parameters=Parameters(**given)
    )
    response = InferenceResponse(model_name="m", outputs=[output])
    span = Span(own.find("out"), 0, 64)
    [found] = finish(written(response, {"y": span})).outputs
    assert found.parameters.model_extra == place("out") | {"layout": "row"}


def test_many_small_inputs_are_read_in_steps(own: CallerRegions) -> None:
    inputs: list[dict[str, Any]] = [
        {"name": "x", "datatype": "FP32", "shape": [2, 3], "parameters": place()}
        for _ in range(500)
    ]
    steps = attach_regions({"inputs": inputs}, LIMITS, lambda: own)
    assert next(steps) is None
    finish(steps)
    assert all(np.frombuffer(each["data"].root, np.float32).size == 6 for each in inputs)
