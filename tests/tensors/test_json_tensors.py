import pytest

from mlserver_streaming.errors import BadRequestError
from mlserver_streaming.tensors.json_tensors import MAX_DIMENSIONS, check_json_tensor


@pytest.mark.parametrize(
    ("datatype", "shape", "data"),
    [
        ("FP32", [2, 2], [1, 2.5, -3, 4]),
        ("FP32", [2, 2], [[1, 2.5], [-3, 4]]),
        ("FP16", [4], [[1, 2], [3, 4]]),
        ("FP64", [2], [None, 1.0]),
        ("FP32", [0], []),
        ("FP32", [2, 0], [[], []]),
        ("FP32", [], 1.5),
        ("INT8", [3], [-128, 127, 1.0]),
        ("UINT64", [1], [2**64 - 1]),
        ("BOOL", [3], [True, False, 1]),
        ("BYTES", [2], ["a", "b"]),
        ("BYTES", [2, 1], [["a"], ["b"]]),
        ("BYTES", [1], "alone"),
    ],
)
def test_data_that_fit(datatype, shape, data):
    check_json_tensor("x", datatype, shape, data)


@pytest.mark.parametrize(
    ("datatype", "shape", "data", "said"),
    [
        ("FP32", [3], [1, 2], "holds 2 element"),
        ("FP32", [], [1, 2], "holds 2 element"),
        ("FP32", [-1], [1], "negative size"),
        ("FP32", [10**30, 10**30], [1], "holds 1 element"),
        ("FP32", [1] * 40, [1], "dimensions"),
        ("FP32", [3], [[1, 2], [3]], "not all of one length"),
        ("FP32", [2], [1, [2]], "not all of one length"),
        ("FP32", [1], ["1"], "must be numbers"),
        ("FP32", [1], {"a": 1}, "must be numbers"),
        ("INT8", [1], [None], "must be numbers"),
        ("INT8", [1], [128], "from -128 to 127"),
        ("UINT8", [1], [-1], "from 0 to 255"),
        ("INT32", [1], [1.5], "whole numbers"),
        ("INT64", [1], [1e30], "whole numbers"),
        ("BYTES", [1], [1], "must be strings"),
        ("BYTES", [1], [None], "must be strings"),
        ("BYTES", [1], {"b64": "aa"}, "must be strings"),
    ],
)
def test_data_that_do_not(datatype, shape, data, said):
    with pytest.raises(BadRequestError, match=said) as caught:
        check_json_tensor("x", datatype, shape, data)
    assert caught.value.status_code == 400


def test_a_deep_nest_is_refused_without_recursion():
    data = [1.0]
    for _ in range(20 * MAX_DIMENSIONS):
        data = [data]
    with pytest.raises(BadRequestError, match="deep"):
        check_json_tensor("x", "FP32", [1], data)
