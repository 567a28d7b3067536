"""Raw tensors: bytes <-> numpy, and the sizes that must agree."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mlserver_streaming.errors import BadRequestError
from mlserver_streaming.tensors.raw import (
    BYTES,
    DTYPES,
    decode_raw,
    encode_raw,
    flat,
    pack_bytes,
    unpack_bytes,
)
from mlserver_streaming.tensors.steps import finish

SHAPES = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)


@given(st.data(), st.sampled_from(sorted(DTYPES)))
def test_numbers_come_back_bit_for_bit(data: st.DataObject, datatype: str) -> None:
    array = data.draw(hnp.arrays(DTYPES[datatype], SHAPES))
    raw = bytes(encode_raw(datatype, array))
    assert len(raw) == array.nbytes
    back = finish(decode_raw("x", datatype, list(array.shape), raw))
    assert (back.shape, back.dtype) == (array.shape, array.dtype)
    assert back.tobytes() == array.tobytes()


def test_the_wire_is_little_endian_and_row_major() -> None:
    big_endian_columns = np.asfortranarray(np.array([[1, 2], [3, 4]], ">i4"))
    assert bytes(encode_raw("INT32", big_endian_columns)) == bytes.fromhex(
        "01000000020000000300000004000000"
    )


def test_a_raw_tensor_is_a_read_only_view() -> None:
    raw = bytes(16)
    tensor = finish(decode_raw("x", "FP32", [2, 2], raw))
    assert np.shares_memory(tensor, np.frombuffer(raw, np.uint8))
    assert not tensor.flags.writeable


def test_encoding_copies_nothing_that_lies_right() -> None:
    array = np.zeros((2, 3), "<f4")
    assert np.shares_memory(encode_raw("FP32", array), array)


@given(st.lists(st.binary()))
def test_byte_elements_come_back(elements: list[bytes]) -> None:
    packed = pack_bytes(elements)
    assert finish(unpack_bytes("x", [len(elements)], packed)) == elements
    assert finish(unpack_bytes("x", [len(elements)], memoryview(packed))) == elements
    assert finish(decode_raw("x", BYTES, [len(elements)], packed)) == elements


def test_text_is_packed_as_utf8_whatever_it_is_kept_in() -> None:
    packed = b"\x02\0\0\0\xc3\xa9\x01\0\0\0b"
    for data in (["é", "b"], ["é", b"b"], [["é"], ["b"]], np.array([["é", "b"]], object)):
        assert pack_bytes(data) == packed


@pytest.mark.parametrize(
    ("datatype", "shape", "raw"),
    [
        ("FP32", [2], bytes(7)),
        ("FP32", [2], bytes(9)),
        ("FP32", [2], b""),
        ("FP32", [0], bytes(4)),
        ("FP32", [], b""),
        ("BOOL", [3], bytes(2)),
        ("FP32", [2**62, 2**62], bytes(8)),
        (BYTES, [1], b""),
        (BYTES, [0], b"\0\0\0\0"),
        (BYTES, [2], b"\0\0\0\0"),
        (BYTES, [2**40], b"\0\0\0\0"),
        (BYTES, [1], b"\x05\0\0\0four"),
        (BYTES, [1], b"\xff\xff\xff\xff"),
        (BYTES, [1], b"\0\0\0"),
        (BYTES, [2], b"\0\0\0\0\x01"),
    ],
)
def test_data_and_shape_that_disagree_are_refused_by_name(
    datatype: str, shape: list[int], raw: bytes
) -> None:
    with pytest.raises(BadRequestError, match="'the-input'") as caught:
        finish(decode_raw("the-input", datatype, shape, raw))
    assert caught.value.status_code == 400


@pytest.mark.parametrize("shape", [[0, 2**62, 2**62], [1] * 65, [0] * 65])
def test_a_shape_that_numpy_cannot_hold_is_refused_by_name(shape: list[int]) -> None:
    raw = bytes(0 if 0 in shape else 4)
    with pytest.raises(BadRequestError, match="'the-input'"):
        finish(decode_raw("the-input", "FP32", shape, raw))


@given(st.sampled_from([*DTYPES, BYTES]), st.lists(st.integers(0, 2**63 - 1)), st.binary())
def test_any_tensor_is_decoded_or_refused(datatype: str, shape: list[int], raw: bytes) -> None:
    try:
        tensor = finish(decode_raw("x", datatype, shape, memoryview(raw)))
    except BadRequestError:
        return
    if datatype == BYTES:
        assert pack_bytes(tensor) == raw
    else:
        assert list(tensor.shape) == shape


@pytest.mark.parametrize(
    ("data", "elements"),
    [
        ([1, 2], [1, 2]),
        ([[1, 2], [3]], [1, 2, 3]),
        ((1, (2, 3)), [1, 2, 3]),
        (np.array([[1, 2], [3, 4]]), [1, 2, 3, 4]),
        ([np.array([1, 2]), np.array([3, 4])], [1, 2, 3, 4]),
        (7, [7]),
        ("text", ["text"]),
        (b"bytes", [b"bytes"]),
        (np.array(7), [7]),
        ([], []),
        ([[], []], []),
    ],
)
def test_elements_are_found_whatever_they_are_kept_in(data: Any, elements: list[Any]) -> None:
    assert flat(data) == elements
