"""Requests and responses, packed and unpacked."""

from typing import Any

import numpy as np
import pytest
from mlserver.types import Datatype, InferenceRequest, InferenceResponse, Parameters

from mlserver_streaming.parallel.payloads import (
    LONG_LIST,
    pack_request,
    pack_response,
    unpack_request,
    unpack_response,
)
from mlserver_streaming.tensors.json_codec import encode_response


def tensor(data: Any, shape: list[int], datatype: str = "BYTES", **more: Any) -> dict[str, Any]:
    return {"name": "x", "shape": shape, "datatype": datatype, "data": data, **more}


def response(**fields: Any) -> InferenceResponse:
    return InferenceResponse(
        **{"model_name": "m", "outputs": [tensor(["a"], [1], parameters={"content_type": "str"})]}
        | fields
    )


RESPONSES = {
    "bare": response(),
    "whole": response(model_version="1", id="r", parameters=Parameters(index=3, headers={"a": 1})),
    "failed": response(outputs=[], parameters=Parameters(error="no", error_code=429)),
    "bytes": response(outputs=[tensor([b"\xff\xfe", "text"], [2])]),
    "enum": response(outputs=[tensor([1.5, 2], [2], datatype=Datatype.FP32)]),
    "array": response(outputs=[tensor(np.arange(6).reshape(2, 3), [2, 3], "INT64")]),
    "long": response(outputs=[tensor([0.1] * LONG_LIST, [LONG_LIST], "FP64")]),
    "nested": response(outputs=[tensor([[1, 2], [3, 4]] * LONG_LIST, [LONG_LIST, 2, 2], "INT8")]),
}


@pytest.mark.parametrize("name", RESPONSES)
def test_a_response_says_the_same_on_the_other_side(name: str):
    before = encode_response(RESPONSES[name])
    packed, size = pack_response(RESPONSES[name])
    after = unpack_response(packed)
    assert encode_response(after) == before
    assert size >= 256
    after.id = "another"  # it is an ordinary response
    after.parameters = Parameters(content_type="x")
    assert encode_response(after.model_copy(deep=True)) == encode_response(after)


def test_a_request_says_the_same_on_the_other_side():
    request = InferenceRequest(
        id="r",
        parameters={"sequence_id": 2**63, "content_type": "str", "headers": {"a": "b"}},
        inputs=[tensor(["a", b"b"], [2], parameters={"content_type": "base64", "own": [1]})],
        outputs=[{"name": "y", "parameters": {"binary_data": True}}, {"name": "z"}],
    )
    after = unpack_request(pack_request(request))
    assert after.model_dump() == request.model_dump()
    assert after == request
    bare = InferenceRequest(inputs=[])
    assert unpack_request(pack_request(bare)).model_dump() == bare.model_dump()


@pytest.mark.parametrize("datatype", ["FP32", "INT16", "BOOL"])
def test_a_long_list_of_numbers_crosses_as_an_array_of_its_datatype(datatype: str):
    request = InferenceRequest(inputs=[tensor([[1, 0]] * LONG_LIST, [LONG_LIST, 2], datatype)])
    data = pack_request(request)[2][0][4]
    assert isinstance(data, np.ndarray)
    assert data.nbytes == 2 * LONG_LIST * {"FP32": 4, "INT16": 2, "BOOL": 1}[datatype]
    np.testing.assert_array_equal(unpack_request(pack_request(request)).inputs[0].data.root, data)


def test_numbers_that_json_left_out_are_nan():
    request = InferenceRequest(inputs=[tensor([None, 1.0] * LONG_LIST, [2 * LONG_LIST], "FP32")])
    data = pack_request(request)[2][0][4]
    assert np.isnan(data[0]) and data[1] == 1


@pytest.mark.parametrize("data", [["a"] * 2 * LONG_LIST, [2**70] * LONG_LIST, [[1], [1, 2]] * 600])
def test_what_is_no_array_crosses_as_it_is(data: list[Any]):
    one = response(outputs=[tensor(data, [len(data)], "INT64")])
    assert pack_response(one)[0][4][0][4] is one.outputs[0].data.root


def test_a_size_grows_with_the_data():
    sizes = [
        pack_response(response(outputs=[tensor(data, [1])]))[1]
        for data in (["a"], ["a" * 1000], ["a" * 1000] * 10, np.zeros(10_000))
    ]
    assert sizes == [257, 1256, 10_256, 80_256]
