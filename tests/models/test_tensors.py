"""Tensors of a request <-> what a runtime works on."""

import base64
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlserver.types import RequestInput, TensorData

from mlserver_streaming.models.errors import ContentError, RequestError
from mlserver_streaming.models.tensors import (
    byte_elements,
    bytes_output,
    elements,
    from_base64,
    is_placeholder,
    text_elements,
)


def tensor(data: Any, shape: list[int] | None = None, **parameters: Any) -> RequestInput:
    return RequestInput.model_construct(
        name="x",
        datatype="BYTES",
        shape=[len(data)] if shape is None else shape,
        data=TensorData.model_construct(root=data),
        parameters=RequestInput(
            name="x", datatype="BYTES", shape=[], data=[], parameters=parameters
        ).parameters
        if parameters
        else None,
    )


def test_nesting_is_undone_row_by_row() -> None:
    assert elements(tensor([["a", "b"], ["c", "d"]], [2, 2])) == ["a", "b", "c", "d"]
    assert elements(tensor(["a", "b", "c", "d"], [2, 2])) == ["a", "b", "c", "d"]
    assert elements(tensor(np.array([[1, 2], [3, 4]]), [2, 2])) == [1, 2, 3, 4]


def test_a_scalar_has_one_element() -> None:
    assert elements(tensor(["a"], [])) == ["a"]
    assert elements(tensor("a", [])) == ["a"]
    assert elements(tensor(np.array(7), [])) == [7]


@pytest.mark.parametrize("shape", [[2], [0], [1, 2], [-1], [-1, -1], [2**63, 2**63]])
def test_a_shape_that_does_not_match_the_data_is_refused(shape: list[int]) -> None:
    with pytest.raises(RequestError, match=r"has shape .* but its data holds 1 element") as caught:
        elements(tensor(["a"], shape))
    assert caught.value.status_code == 400


def test_nothing_may_be_sent() -> None:
    assert elements(tensor([], [0])) == []
    assert elements(tensor([], [3, 0])) == []


def test_base64_is_undone_only_where_it_is_announced() -> None:
    coded = base64.b64encode(b"\x00\xff").decode()
    assert byte_elements(tensor([coded], content_type="base64")) == [b"\x00\xff"]
    assert byte_elements(tensor([coded])) == [coded.encode()]


@given(st.binary())
def test_base64_gives_the_bytes_back_with_and_without_line_breaks(data: bytes) -> None:
    assert from_base64(base64.b64encode(data)) == data
    assert from_base64(base64.encodebytes(data)) == data


@given(st.binary())
def test_any_bytes_are_base64_or_not(data: bytes) -> None:
    found = from_base64(data)
    assert found is None or isinstance(found, bytes)


@pytest.mark.parametrize("data", [b"abc*", b"abc", b"\xff\xd8\xff", "äöü".encode()])
def test_what_is_not_base64_is_none(data: bytes) -> None:
    assert from_base64(data) is None


@given(st.text())
def test_a_text_is_itself_alone_and_beside_another(text: str) -> None:
    surrogates = any("\ud800" <= each <= "\udfff" for each in text)
    for data in [text], [text, "a"]:
        if surrogates:
            with pytest.raises(ContentError):
                text_elements(tensor(data))
        else:
            assert text_elements(tensor(data)) == data


def test_a_text_alone_is_looked_at_where_it_must_be() -> None:
    coded = base64.b64encode(b"abc").decode()
    assert text_elements(tensor([coded], content_type="base64")) == ["abc"]
    with pytest.raises(RequestError):
        text_elements(tensor(["a"], [2]))


def test_text_names_the_bad_byte() -> None:
    with pytest.raises(ContentError, match=r"byte 3 is 0xe9"):
        text_elements(tensor([b"caf\xe9"]))


@pytest.mark.parametrize("data", [[1], ["1"], [b"1"], [0], [b""], [""], []])
def test_what_stands_for_no_data_is_a_placeholder(data: list[Any]) -> None:
    assert is_placeholder(tensor(data))


@pytest.mark.parametrize("data", [["a"], [b"\xff\xd8"], [2], ["1", "a"]])
def test_data_is_no_placeholder(data: list[Any]) -> None:
    assert not is_placeholder(tensor(data))


def test_an_output_says_its_shape() -> None:
    output = bytes_output("y", ["a", b"b"], "str")
    assert (output.name, output.datatype, output.shape) == ("y", "BYTES", [2])
    assert output.data.root == ["a", b"b"]
    assert output.parameters.content_type == "str"
    assert bytes_output("y", []).parameters is None
