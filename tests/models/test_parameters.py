"""Request parameters come as numbers or as their text."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlserver_streaming.models.errors import ParameterError
from mlserver_streaming.models.parameters import flag, integer, number, parameter
from tests.runtimes.asking import ask

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


def with_value(value: Any) -> Any:
    return ask("x", ["data"], value=value)


@given(ANYTHING)
def test_number_gives_a_number_in_range_or_a_sentence(value: Any) -> None:
    try:
        found = number(with_value(value), "value", 5, 0, 10)
    except ParameterError as error:
        assert str(error).startswith("Parameter 'value' must be a number from 0 to 10, not ")
    else:
        assert 0 <= found <= 10


@given(ANYTHING)
def test_integer_gives_a_whole_number_in_range_or_a_sentence(value: Any) -> None:
    try:
        found = integer(with_value(value), "value", 5, 1, 100)
    except ParameterError as error:
        assert str(error).startswith("Parameter 'value' must be a whole number from 1 to 100, not ")
    else:
        assert type(found) is int
        assert 1 <= found <= 100


@given(ANYTHING)
def test_flag_gives_a_boolean_or_a_sentence(value: Any) -> None:
    try:
        found = flag(with_value(value), "value")
    except ParameterError as error:
        assert str(error).startswith("Parameter 'value' must be true or false, not ")
    else:
        assert type(found) is bool


@pytest.mark.parametrize("value", [95, "95", 95.0, "95.0", "9.5e1"])
def test_a_whole_number_comes_in_any_form(value: Any) -> None:
    assert integer(with_value(value), "value", 1, 1, 100) == 95


@pytest.mark.parametrize("value", [0, 101, 95.5, "high", "", True, "nan", "inf"])
def test_a_number_that_is_not_whole_or_in_range_is_refused(value: Any) -> None:
    with pytest.raises(ParameterError):
        integer(with_value(value), "value", 1, 1, 100)


@pytest.mark.parametrize(
    ("value", "meant"),
    [
        (True, True),
        (False, False),
        (1, True),
        (0, False),
        ("true", True),
        ("False", False),
        ("1", True),
        ("0", False),
        (None, False),
    ],
)
def test_a_flag_comes_in_any_form(value: Any, meant: bool) -> None:
    assert flag(with_value(value), "value") is meant


@pytest.mark.parametrize("value", [2, -1, 1.0, 0.0, "yes", "", [True]])
def test_what_is_no_flag_is_refused(value: Any) -> None:
    with pytest.raises(ParameterError):
        flag(with_value(value), "value")


def test_a_parameter_that_is_not_given_is_its_default() -> None:
    nothing = ask("x", ["data"])
    assert parameter(nothing, "value") is None
    assert number(nothing, "value", 2.5, 0, 10) == 2.5
    assert integer(nothing, "value", 7, 1, 100) == 7
    assert flag(nothing, "value") is False
