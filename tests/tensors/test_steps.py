"""Work in steps, and the bytes that are put together in them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlserver_streaming.tensors.steps import COPIED_BYTES, Steps, finish, gathered


def test_all_steps_are_done_and_give_what_they_made() -> None:
    done = []

    def work() -> Steps[str]:
        for step in range(3):
            done.append(step)
            yield
        return "made"

    assert finish(work()) == "made"
    assert done == [0, 1, 2]


def test_an_error_comes_out_of_a_step() -> None:
    def work() -> Steps[None]:
        yield
        raise KeyError

    with pytest.raises(KeyError):
        finish(work())


@given(st.lists(st.binary()))
def test_parts_become_one(parts: list[bytes]) -> None:
    assert finish(gathered([*parts, memoryview(b"end")])) == b"".join(parts) + b"end"


def test_a_large_part_is_copied_in_steps() -> None:
    assert sum(1 for _ in gathered([bytes(10 * COPIED_BYTES)])) == 10
