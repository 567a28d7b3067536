import numpy as np
import orjson
import pytest
from mlserver.types import InferenceResponse, Parameters, ResponseOutput, TensorData

from mlserver_streaming.errors import BadRequestError
from mlserver_streaming.rest.binary import BinaryOutputs, attach_tensors, split_body
from mlserver_streaming.settings import LimitSettings
from mlserver_streaming.tensors.json_requests import decode_request, parse_json
from mlserver_streaming.tensors.steps import finish


def decoded(inputs, tail=b"", header=None, **fields):
    """The request in a binary body; `inputs` are name, shape, datatype and size of each."""
    tensors = [
        {"name": n, "shape": s, "datatype": d, "parameters": {"binary_data_size": size}}
        for n, s, d, size in inputs
    ]
    text = orjson.dumps({"inputs": tensors, **fields})
    text, rest = split_body(text + tail, str(len(text)) if header is None else header)
    parsed = parse_json(text)
    attach_tensors(parsed, rest)
    return finish(decode_request(parsed, LimitSettings())), rest


def response(*outputs):
    return InferenceResponse.model_construct(
        model_name="m",
        outputs=[
            ResponseOutput.model_construct(
                name=name,
                shape=shape,
                datatype=datatype,
                parameters=None,
                data=TensorData.model_construct(root=data),
            )
            for name, shape, datatype, data in outputs
        ],
    )


def test_tensors_are_views_of_the_body():
    array = np.arange(6, dtype="<f4").reshape(2, 3)
    request, rest = decoded([("x", [2, 3], "FP32", 24)], array.tobytes())
    found = request.inputs[0].data.root
    np.testing.assert_array_equal(found, array)
    assert np.shares_memory(found, np.frombuffer(rest, np.uint8))
    assert request.inputs[0].parameters == Parameters()


def test_several_tensors_of_several_kinds():
    half = np.array([1.5, -2], "<f2").tobytes()
    text = b"\x02\x00\x00\x00\xff\xd8\x00\x00\x00\x00"
    request, _ = decoded(
        [("h", [2], "FP16", 4), ("b", [2], "BYTES", 10), ("e", [0], "INT8", 0)], half + text
    )
    assert request.inputs[0].data.root.tolist() == [1.5, -2]
    assert request.inputs[1].data.root == [b"\xff\xd8", b""]
    assert request.inputs[2].data.root.shape == (0,)


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("100000", "is 100000, but the body has only"),
        ("-1", "must be the length"),
        ("many", "must be the length"),
        ("1.5", "must be the length"),
        ("²", "must be the length"),
        ("9" * 100, "must be the length"),
        ("", "must be the length"),
        ("0", "is 0"),
        ("10", "not JSON"),
    ],
)
def test_a_header_that_is_wrong(header, said):
    with pytest.raises(BadRequestError, match=said) as caught:
        decoded([("x", [1], "FP32", 4)], b"1234", header)
    assert caught.value.status_code == 400


@pytest.mark.parametrize(
    ("tensor", "tail", "said"),
    [
        (("x", [2], "FP32", 4), b"1234", "8 bytes, but its raw data has 4"),
        (("x", [1], "FP32", 8), b"12345678", "4 bytes, but its raw data has 8"),
        (("x", [1], "FP32", 4), b"123", "announces 4 bytes .* but 3 are left"),
        (("x", [1], "FP32", 4), b"12345", "1 bytes behind the JSON belong to no input"),
        (("x", [1], "FP32", -4), b"1234", "must be a number of bytes"),
        (("x", [1], "FP32", "4"), b"1234", "must be a number of bytes"),
        (("x", [1], "FP32", True), b"1", "must be a number of bytes"),
        (("x", [1], "FP32", 4.0), b"1234", "must be a number of bytes"),
        (("x", [1], "FP32", 10**18), b"1234", "announces"),
        (("x", [-1], "FP32", 4), b"1234", "negative size"),
        (("x", [1], "FP31", 4), b"1234", "Field 'inputs.0.datatype'"),
        (("b", [1], "BYTES", 6), b"\x03\x00\x00\x00ab", "length of raw element 0 overruns"),
        (("b", [1], "BYTES", 2), b"\x03\x00", "length of raw element 0 overruns"),
        (("b", [2], "BYTES", 5), b"\x01\x00\x00\x00a", "holds 1 element"),
    ],
)
def test_tensors_that_disagree_with_the_body(tensor, tail, said):
    with pytest.raises(BadRequestError, match=said) as caught:
        decoded([tensor], tail)
    assert caught.value.status_code == 400


def test_data_both_ways():
    parsed = {"inputs": [{"name": "x", "data": [1], "parameters": {"binary_data_size": 4}}]}
    with pytest.raises(BadRequestError, match="both 'data' and 'binary_data_size'"):
        attach_tensors(parsed, memoryview(b"1234"))


def test_which_outputs_are_wanted():
    parsed = {
        "parameters": {"binary_data_output": True, "kept": 1},
        "outputs": [{"name": "a", "parameters": {"binary_data": False}}, {"name": "b"}],
    }
    wanted = BinaryOutputs.take(parsed)
    assert wanted == BinaryOutputs(all=True, named={"a": False})
    assert wanted.any
    # Nothing of it is left for the runtime.
    assert parsed["parameters"] == {"kept": 1}
    assert parsed["outputs"][0]["parameters"] == {}
    assert not BinaryOutputs.take({}).any


@pytest.mark.parametrize("flag", ["yes", 1, []])
def test_a_wish_that_is_neither_true_nor_false(flag):
    with pytest.raises(BadRequestError, match="'binary_data_output' must be true or false"):
        BinaryOutputs.take({"parameters": {"binary_data_output": flag}})


def test_outputs_as_bytes():
    array = np.arange(4, dtype=np.float32).reshape(2, 2)
    parts, length = finish(
        BinaryOutputs(all=True, named={"j": False}).written(
            response(
                ("x", [2, 2], "FP32", array.T),
                ("j", [1], "INT8", [7]),
                ("b", [2], "BYTES", [b"\xff\xd8", "é"]),
                ("l", [2], "FP16", [1, 2]),
            )
        )
    )
    body = b"".join(parts)
    outputs = orjson.loads(body[:length])["outputs"]
    assert [output.get("data") for output in outputs] == [None, [7], None, None]
    sizes = [output.get("parameters", {}).get("binary_data_size") for output in outputs]
    assert sizes == [16, None, 12, 4]
    tail = body[length:]
    np.testing.assert_array_equal(np.frombuffer(tail[:16], "<f4").reshape(2, 2), array.T)
    assert tail[16:28] == b"\x02\x00\x00\x00\xff\xd8\x02\x00\x00\x00\xc3\xa9"
    assert np.frombuffer(tail[28:], "<f2").tolist() == [1, 2]
