import base64
import pickle
from typing import Any

import numpy as np
import orjson
import pytest
from mlserver.types import Datatype, InferenceResponse, Parameters, ResponseOutput, TensorData

from mlserver_streaming.cache.key import PREDICT, key_of
from mlserver_streaming.errors import BadRequestError
from mlserver_streaming.parallel.payloads import pack_request, unpack_request
from mlserver_streaming.settings import LimitSettings
from mlserver_streaming.tensors.json_codec import (
    StreamEncoder,
    encode_response,
    encode_unless_large,
)
from mlserver_streaming.tensors.json_requests import decode_request, parse_json
from mlserver_streaming.tensors.steps import finish


def output(name, shape, datatype, data, **parameters):
    return ResponseOutput.model_construct(
        name=name,
        shape=shape,
        datatype=datatype,
        parameters=Parameters(**parameters) if parameters else None,
        data=TensorData.model_construct(root=data),
    )


def encoded(*outputs, **fields):
    response = InferenceResponse.model_construct(model_name="m", outputs=list(outputs), **fields)
    return orjson.loads(encode_response(response))


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (b"", 400, "empty"),
        (b"{", 400, "not JSON"),
        (b"[]", 400, "must be a JSON object"),
        (b'"text"', 400, "must be a JSON object"),
        (b'{"a": "\xff"}', 422, "byte 7 is 0xff"),
        (b"[" * 5000, 400, "not JSON"),
        (b'{"a": NaN}', 400, "not JSON"),
    ],
)
def test_a_body_that_is_no_json_object(body, status, said):
    with pytest.raises(BadRequestError, match=said) as caught:
        parse_json(body)
    assert caught.value.status_code == status


@pytest.mark.parametrize("body", [b"", b"[]"])
def test_a_body_of_another_call_says_what_that_takes(body):
    with pytest.raises(BadRequestError, match="a JSON object with 'model'"):
        parse_json(body, "'model'")


@pytest.mark.parametrize(
    ("parsed", "said"),
    [
        ({}, "Field 'inputs'"),
        ({"inputs": 1}, "Field 'inputs'"),
        ({"inputs": [{}]}, "Field 'inputs.0.name'"),
        ({"inputs": [], "id": 5}, "Field 'id'"),
        ({"inputs": [], "parameters": []}, "Field 'parameters'"),
        (
            {"inputs": [{"name": "x", "shape": [1], "datatype": "FP128", "data": [1]}]},
            "Field 'inputs.0.datatype'",
        ),
        (
            {"inputs": [{"name": "x", "shape": [2], "datatype": "FP32", "data": [1]}]},
            r"shape \[2\], but its data holds 1 element",
        ),
    ],
)
def test_json_that_is_no_inference_request(parsed, said):
    with pytest.raises(BadRequestError, match=said) as caught:
        finish(decode_request(parsed, LimitSettings()))
    assert caught.value.status_code == 400
    assert str(caught.value).endswith(".")


def test_a_response_leaves_out_what_it_has_not():
    assert encoded() == {"model_name": "m", "outputs": []}
    assert encoded(id="1", model_version="", parameters=Parameters()) == {
        "model_name": "m",
        "id": "1",
        "outputs": [],
    }


def test_headers_and_other_parameters():
    found = encoded(parameters=Parameters(headers={"Ce-Id": "1"}, index=2))
    assert found["parameters"] == {"headers": {"Ce-Id": "1"}, "index": 2}


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "u1", "i8", "?", ">f4"])
def test_numpy_arrays_of_every_kind(dtype):
    array = np.array([[1, 0], [0, 1]], dtype)
    assert encoded(output("x", [2, 2], "FP16", array))["outputs"][0]["data"] == [[1, 0], [0, 1]]
    assert encoded(output("x", [2], "FP16", array[:, 0]))["outputs"][0]["data"] == [1, 0]


def test_bytes_are_text_where_they_can_be():
    (found,) = encoded(output("t", [2], "BYTES", [b"\xc3\xa9", "é"], content_type="str"))["outputs"]
    assert found["data"] == ["é", "é"]
    assert found["parameters"] == {"content_type": "str"}


def test_bytes_that_are_no_text_are_base64_and_say_so():
    (found,) = encoded(output("t", [2], "BYTES", [[b"\xff\xd8"], ["a"]]))["outputs"]
    assert found["parameters"] == {"content_type": "base64"}
    assert [base64.b64decode(text) for text in found["data"]] == [b"\xff\xd8", b"a"]


def test_each_response_of_a_stream_is_written_as_if_it_were_alone():
    word = output("y", [1], "BYTES", ["a"])
    fields = [
        {"id": "1"},
        {"id": "1"},
        {"id": "2"},
        {"id": "2", "model_version": "v"},
        {"id": "2", "parameters": Parameters(cache="hit")},
        {"id": "2", "parameters": Parameters(more=1)},
    ]
    outputs = [
        [output("z", [1], "BYTES", ["a"])],
        [output("y", [2], "BYTES", ["a", b"b"])],
        [output("y", [1], "BYTES", [b"\xff"])],
        [output("y", [1], "BYTES", ["a"], content_type="str")],
        [output("y", [1], "BYTES", ["a"], more="x")],
        [output("y", [1], "FP32", [1.5])],
        [output("y", [1], "FP32", np.ones(1, np.float32))],
        [word, word],
        [],
    ]
    whole = [{"outputs": [word], **each} for each in fields]
    whole += [{"outputs": each, "id": "1"} for each in outputs]
    encoder = StreamEncoder()
    for each in whole:
        for between in ([word], each["outputs"]):
            first = InferenceResponse.model_construct(model_name="m", outputs=between, id="1")
            encoder.encode(first)
            response = InferenceResponse.model_construct(model_name="m", **each)
            assert encoder.encode(response) == encode_response(response)
    large = InferenceResponse.model_construct(
        model_name="m", outputs=[output("y", [1], "BYTES", ["a" * 100_000])]
    )
    assert encoder.encode(large) is encode_unless_large(large) is None


def a_word():
    word = output("y", [1], "BYTES", ["a"], content_type="str")
    return InferenceResponse.model_construct(model_name="m", outputs=[word], id="1")


CHANGES = {
    "content type": lambda word, output: setattr(output.parameters, "content_type", "x"),
    "no content type": lambda word, output: setattr(output.parameters, "content_type", None),
    "tensor headers": lambda word, output: setattr(output.parameters, "headers", {"a": "b"}),
    "tensor parameter": lambda word, output: setattr(output.parameters, "more", 1),
    "no tensor parameters": lambda word, output: setattr(output, "parameters", None),
    "shape": lambda word, output: output.shape.append(1),
    "another shape": lambda word, output: setattr(output, "shape", (1,)),
    "datatype": lambda word, output: setattr(output, "datatype", Datatype.BYTES),
    "tensor name": lambda word, output: setattr(output, "name", "z"),
    "id": lambda word, output: setattr(word, "id", "2"),
    "no id": lambda word, output: setattr(word, "id", None),
    "long id": lambda word, output: setattr(word, "id", "1" * 200),
    "version": lambda word, output: setattr(word, "model_version", "v"),
    "model": lambda word, output: setattr(word, "model_name", "n"),
    "parameters": lambda word, output: setattr(word, "parameters", Parameters(more=1)),
    "headers": lambda word, output: setattr(word, "parameters", Parameters(headers={"a": "b"})),
    "two texts": lambda word, output: output.data.root.append("b"),
    "two outputs": lambda word, output: word.outputs.append(output),
    "no outputs": lambda word, output: word.outputs.clear(),
    "quotes": lambda word, output: setattr(output.data, "root", ['"\n\u2028é\x00"']),
    "bytes": lambda word, output: setattr(output.data, "root", ["é".encode()]),
    "no text": lambda word, output: setattr(output.data, "root", [b"\xff"]),
    "bare list": lambda word, output: setattr(output, "data", ["b"]),
    "bare text": lambda word, output: setattr(output, "data", "b"),
    "number": lambda word, output: setattr(output.data, "root", [1]),
    "array": lambda word, output: setattr(output.data, "root", np.array(["b"], object)),
    "numbers": lambda word, output: word.outputs.insert(0, changed(output, datatype="INT32")),
}


def changed(output, **fields):
    return output.model_copy(update={"data": TensorData.model_construct(root=[1])} | fields)


@pytest.mark.parametrize("what", CHANGES)
def test_a_word_of_a_stream_is_written_as_it_is_then(what):
    encode = StreamEncoder(b"<", b">").encode
    word = a_word()

    def check(response):
        assert encode(response) == b"<%b>" % encode_response(response)

    for _ in range(3):
        check(word)
    # The same response is given again, and no longer says the same.
    CHANGES[what](word, word.outputs[0])
    for each in (word, word, a_word(), a_word(), word):
        check(each)


def test_a_word_that_json_does_not_hold():
    encode = StreamEncoder().encode
    for _ in range(3):
        before = encode(a_word())
    broken = a_word()
    broken.outputs[0].data.root = ["\ud800"]
    with pytest.raises(TypeError, match="surrogates"):
        encode(broken)
    broken.outputs[0].data.root = ["a" * 65_537]
    assert encode(broken) is None
    assert encode(a_word()) == before


@pytest.mark.parametrize("version", [None, "v1"])
@pytest.mark.parametrize("parameters", [None, Parameters(cache="hit")])
def test_each_response_of_a_model_has_its_own_id(version, parameters):
    for request_id in ("7", 'a "quoted" one\n', "Zoë", None, "7"):
        word = output("o", [1], "BYTES", ["w"], content_type="str")
        response = InferenceResponse.model_construct(
            model_name='m"', model_version=version, id=request_id, parameters=parameters
        )
        response.outputs = [word]
        found = orjson.loads(encode_unless_large(response))
        # Two outputs are not written the short way.
        response.outputs = [word, word]
        expected = orjson.loads(encode_response(response))
        expected["outputs"].pop()
        assert found == expected and list(found) == list(expected)


def test_one_short_word_with_a_uuid_fits_into_220_bytes():
    word = output("output", [1], "BYTES", [" capital"], content_type="str")
    response = InferenceResponse.model_construct(
        model_name="text-model", id="a8c1fb4e-6a58-4e3e-93ea-6d1e0c3a35c5", outputs=[word]
    )
    assert len(b"data: %b\n\n" % encode_response(response)) <= 220


@pytest.mark.parametrize("where", ["request", "headers", "tensor", "output"])
@pytest.mark.parametrize("kind", ["list", "object"])
def test_parameters_nested_too_deep(where, kind):
    deep: Any = 1
    for _ in range(990):
        deep = [deep] if kind == "list" else {"a": deep}
    tensor = {"name": "x", "shape": [1], "datatype": "BYTES", "data": ["a"]}
    body = {"inputs": [tensor]}
    owner = {"request": body, "headers": body, "tensor": tensor}.get(where)
    if owner is None:
        body["outputs"] = [owner := {"name": "y"}]
    owner["parameters"] = {"headers": {"a": deep}} if where == "headers" else {"p": [1, deep]}
    with pytest.raises(BadRequestError, match="nested more than 100 deep"):
        finish(decode_request(body, LimitSettings()))


def test_parameters_that_are_nested_as_deep_as_they_may_go_everywhere():
    deep: Any = 1
    for _ in range(99):
        deep = {"a": deep}
    tensor = {"name": "x", "shape": [1], "datatype": "BYTES", "data": ["a"]}
    request = finish(
        decode_request({"inputs": [tensor], "parameters": {"p": deep}}, LimitSettings())
    )
    assert key_of(request, b"m", PREDICT, "") is not None
    assert unpack_request(pickle.loads(pickle.dumps(pack_request(request)))) == request
    response = InferenceResponse(model_name="m", outputs=[], parameters=request.parameters)
    assert orjson.loads(encode_response(response))["parameters"]["p"] == deep
