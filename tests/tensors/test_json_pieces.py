"""Long JSON: what is cut out of it, what is refused; all else is as if it were parsed at once."""

import json
import tracemalloc
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlserver_streaming.errors import BadRequestError, MLServerError, TooLargeError
from mlserver_streaming.settings import LimitSettings
from mlserver_streaming.tensors.json_pieces import LONG_ROWS_BYTES, MARK, SMALL_BODY_BYTES
from mlserver_streaming.tensors.json_requests import attach_rows, decode_request, parse
from mlserver_streaming.tensors.steps import READ_BYTES, Steps, finish

LIMITS = LimitSettings()
LONG = SMALL_BODY_BYTES
DATATYPES = ["FP32", "FP64", "INT32", "INT64", "UINT8", "BOOL"]


def read(body: bytes, limits: LimitSettings = LIMITS) -> Steps[Any]:
    parsed, rows = yield from parse(body, limits)
    yield from attach_rows(parsed, rows, limits)
    return (yield from decode_request(parsed, limits))


def tensor(data: Any, shape: list[int], datatype: str = "FP32", **more: Any) -> dict[str, Any]:
    return {"name": "x", "datatype": datatype, "shape": shape, "data": data, **more}


def body(*tensors: dict[str, Any], **more: Any) -> bytes:
    return json.dumps({"inputs": tensors, **more}).encode()


def data_of(body: bytes, limits: LimitSettings = LIMITS) -> Any:
    return finish(read(body, limits)).inputs[0].data.root


@pytest.mark.parametrize("datatype", DATATYPES)
@pytest.mark.parametrize("shape", [[30_000], [300, 100], [1, 3, 100, 100], [30_000, 1]])
def test_long_rows_are_an_array_of_their_datatype(datatype: str, shape: list[int]) -> None:
    wanted = np.arange(30_000).reshape(shape) % 2
    found = data_of(body(tensor(wanted.tolist(), shape, datatype)))
    assert isinstance(found, np.ndarray)
    assert found.shape == tuple(shape)
    assert np.array_equal(found, wanted)


def test_rows_may_be_nested_otherwise_than_the_shape_says() -> None:
    rows = [[number] * 100 for number in range(200)]
    assert data_of(body(tensor(rows, [2, 10_000]))).shape == (2, 10_000)
    assert data_of(body(tensor([0.5] * 20_000, [2, 10_000]))).shape == (2, 10_000)


def test_what_stands_around_rows_is_read_as_ever() -> None:
    text = 'quotes " and [brackets], \\ and \n' * 2000
    asked = finish(
        read(
            body(
                tensor([1.0] * LONG, [LONG], parameters={"n": 1}),
                tensor(["a", text], [2], "BYTES"),
                tensor([[1, 2], [3, 4]], [2, 2]),
                id=text,
                parameters={"long": text, "short": [1, 2]},
            )
        )
    )
    assert asked.id == text
    assert asked.parameters.model_extra == {"long": text, "short": [1, 2]}
    assert asked.inputs[0].parameters.model_extra == {"n": 1}
    assert asked.inputs[1].data.root == ["a", text]
    assert asked.inputs[2].data.root == [[1, 2], [3, 4]]


@pytest.mark.parametrize("blank", ["", " ", "\n    "])
def test_blanks_make_no_difference(blank: str) -> None:
    rows = f",{blank}".join([f"[{blank}1{blank},{blank}2.5{blank}]"] * 5000)
    found = data_of(body(tensor(0, [5000, 2])).replace(b"0}", f"[{rows}{blank}]{blank}}}".encode()))
    assert np.array_equal(found, np.tile([1, 2.5], (5000, 1)))


@pytest.mark.parametrize(
    ("datatype", "element", "said"),
    [
        ("FP32", "true", None),
        ("FP32", "null", None),
        ("FP64", "1e300", None),
        ("FP32", "1e300", None),
        ("INT32", "7.0", None),
        ("UINT64", "18446744073709551615", None),
        ("INT64", "-9223372036854775808", None),
        ("INT32", "1.5", "whole numbers"),
        ("INT32", "null", "must be numbers"),
        ("INT8", "128", "from -128 to 127"),
        ("UINT64", "-1", "whole numbers"),
        ("FP32", "{}", "must be numbers"),
        ("FP32", "[1]", "not all of one length"),
        ("FP32", "01", "not JSON"),
        ("FP32", "1 1", "not JSON"),
        ("FP32", "", "not JSON"),
        ("FP32", "nul", "not JSON"),
        ("BYTES", "1", "must be strings"),
    ],
)
def test_each_number_is_looked_at(datatype: str, element: str, said: str | None) -> None:
    """The odd one stands in the middle, at the beginning, and at the end."""
    for place in (0, 9_000, 19_999):
        elements = ["1"] * 20_000
        elements[place] = element
        sent = body(tensor(0, [20_000], datatype)).replace(
            b'"data": 0', f'"data": [{",".join(elements)}]'.encode()
        )
        if said is None:
            found = data_of(sent)
            with np.errstate(over="ignore"):
                wanted = np.array(orjson.loads(element), found.dtype)
            assert np.array_equal(found[place], wanted, equal_nan=True)
        else:
            with pytest.raises(BadRequestError, match=said):
                finish(read(sent))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ([[1.0] * 10_000, [1.0] * 9_999], "not all of one length"),
        ([[[1.0] * 10_000], [1.0] * 10_000], "not all of one length"),
        ([*[[1.0] * 10_000] * 2, 1.0], "not all of one length"),
        ([1.0] * 20_001, "has shape .* but its data holds 20001 element"),
    ],
)
def test_ragged_rows_are_refused_as_in_short_bodies(data: Any, said: str) -> None:
    with pytest.raises(BadRequestError, match=said):
        finish(read(body(tensor(data, [2, 10_000]))))


def test_a_long_list_of_numbers_that_is_no_input_is_refused() -> None:
    for sent in (
        body(tensor(["a"], [1], "BYTES"), parameters={"x": [1] * LONG}),
        body(tensor(["a"], [1], "BYTES", parameters={"x": [1] * LONG})),
    ):
        with pytest.raises(BadRequestError, match="can only be the data of an input"):
            finish(read(sent))


def test_nobody_can_send_a_mark() -> None:
    sent = body(tensor("rows-0", [1], "BYTES"), id="x" * LONG)
    assert data_of(sent) == "rows-0"
    assert len(MARK) > 32


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (body(*[tensor(["a"], [1], "BYTES")] * 1025), "more than 1024 inputs"),
        (body(tensor(["a"], [1], "BYTES"), outputs=[{"name": "x"}] * 1025), "1024 outputs"),
        (
            body(tensor(["a"], [1], "BYTES"), parameters={str(n): n for n in range(1025)}),
            "1024 parameters",
        ),
        (
            body(tensor(["a"], [1], "BYTES", parameters={str(n): n for n in range(1025)})),
            "1024 parameters",
        ),
        (body(tensor(["a"] * 65_537, [65_537], "BYTES")), "more than 65536 elements"),
        (body(tensor(["ab"] * 200_000, [200_000], "BYTES")), "values beside rows of numbers"),
        (body(tensor([[]] * 100_000, [100_000, 0])), "more than 65536 rows"),
        (body(tensor([[1]] * 100_000, [100_000, 1])), "more than 65536 rows"),
        (body(tensor([{}] * 100_000, [100_000])), "values beside rows of numbers"),
        (body(*[tensor(["a"], [1], "BYTES")] * 30_000), "values beside rows of numbers"),
        (b'{"a":' + b'""' * 200_000 + b"}", "values beside rows of numbers"),
        (body(tensor("a" * 2**20, [1], "BYTES")), "bytes beside rows of numbers"),
        (b'{"a":' + b" " * 2**20 + b"1}", "bytes beside rows of numbers"),
        (body(tensor(0, [3], "FP64"))[:-4] + b"[%b1]}]}" % (b"1," * 3_000_000), "3 times"),
    ],
    ids=[
        *("inputs", "outputs", "parameters", "a tensor's parameters", "elements", "strings"),
        *("empty rows", "short rows", "objects", "many inputs", "empty strings", "text"),
        *("blanks", "growth"),
    ],
)
def test_more_than_the_limits_allow_is_refused_in_a_sentence(sent: bytes, said: str) -> None:
    with pytest.raises(TooLargeError, match=said) as caught:
        finish(read(sent, LimitSettings(text_bytes=2**20)))
    assert caught.value.status_code == 413


def test_limits_may_be_set() -> None:
    sent = body(tensor(["a"] * 100_000, [100_000], "BYTES"))
    limits = LimitSettings(elements=100_000)
    assert len(data_of(sent, limits)) == 100_000


@pytest.mark.parametrize(
    "data", [[1] * 2_000_000, [[0.5] * 640] * 2000, ["a"] * 60_000], ids=["flat", "rows", "text"]
)
def test_a_long_body_is_read_in_short_steps(data: Any) -> None:
    """A step takes so much text at most, whatever the body's length."""
    datatype = "BYTES" if data[0] == "a" else "FP32"
    shape = [len(data), len(data[0])] if isinstance(data[0], list) else [len(data)]
    sent = body(tensor(data, shape, datatype))
    assert sum(1 for _ in read(sent)) >= len(sent) // READ_BYTES // 2


PIECES = st.sampled_from(
    [
        *(b'"', b"\\", b"[", b"]", b"{", b"}", b",", b":", b"1", b"1.5,", b"null", b" ", b'"a"'),
        b"[" + b"1," * LONG_ROWS_BYTES + b"1]",
        b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1],"data":[1]}]}',
        b'{"inputs":[{"name":"x","datatype":"FP32","shape":[%d],"data":' % (LONG_ROWS_BYTES + 1),
        b"}]}",
    ]
)


@given(st.lists(PIECES, max_size=12).map(b"".join))
def test_any_long_body_is_read_or_refused_as_when_parsed_at_once(sent: bytes) -> None:
    sent += b" " * LONG
    try:
        parsed = orjson.loads(sent)
    except orjson.JSONDecodeError:
        with pytest.raises(MLServerError):
            finish(read(sent))
        return
    try:
        found = finish(read(sent))
    except MLServerError:
        return
    assert [each["name"] for each in parsed["inputs"]] == [each.name for each in found.inputs]


@pytest.mark.parametrize("element", [b"1", b"0.123456", b"null"])
def test_numbers_take_no_more_than_three_times_their_text(element: bytes) -> None:
    count = 1_000_000
    head = b'{"inputs":[{"name":"x","datatype":"FP32","shape":[%d],"data":[' % count
    sent = head + (element + b",") * (count - 1) + element + b"]}]}"
    tracemalloc.start()
    finish(read(sent))
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most <= 3 * len(sent)
