"""Which requests of a sequence the model must see."""

from __future__ import annotations

from typing import Any

import pytest
from mlserver.types import InferenceRequest

from mlserver_streaming.cache.sequences import SequencesSeen, in_sequence, is_flagged
from tests.streams.planes import ask


def of(sequence: Any, **flags: Any) -> InferenceRequest:
    return ask("a", sequence_id=sequence, **flags)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("none", [ask("a"), of(0), of(""), of(None)])
def test_no_sequence(none: InferenceRequest):
    assert not in_sequence(none)


@pytest.mark.parametrize("sequence", [1, "a", 2**63])
def test_a_sequence(sequence: Any):
    assert in_sequence(of(sequence))
    assert not is_flagged(of(sequence))
    assert is_flagged(of(sequence, sequence_start=True))
    assert is_flagged(of(sequence, sequence_end=True))


def test_between_start_and_end_and_while_the_model_has_heard_of_it():
    clock = Clock()
    seen = SequencesSeen(10, 30, clock)
    assert not seen.may_pass_by(of(1))
    seen.asked(of(1, sequence_start=True), seen.begun())
    assert seen.may_pass_by(of(1))
    assert not seen.may_pass_by(of(2))
    assert not seen.may_pass_by(of(1, sequence_end=True))
    clock.now += 29
    assert seen.may_pass_by(of(1))
    clock.now += 2
    assert not seen.may_pass_by(of(1))
    seen.asked(of(1), seen.begun())
    assert seen.may_pass_by(of(1))
    seen.asked(of(1, sequence_end=True), seen.begun())
    assert not seen.may_pass_by(of(1))


def test_no_more_are_remembered_than_may_live():
    seen = SequencesSeen(3, 30, Clock())
    for sequence in range(1, 6):
        seen.asked(of(sequence, sequence_start=True), seen.begun())
    assert [seen.may_pass_by(of(each)) for each in range(1, 6)] == [False, False, True, True, True]


def test_a_start_whose_answer_comes_behind_the_end_s_begins_nothing():
    seen = SequencesSeen(10, 30, Clock())
    start, end = seen.begun(), seen.begun()
    seen.asked(of(1, sequence_end=True), end)
    seen.asked(of(1, sequence_start=True), start)
    assert not seen.may_pass_by(of(1))
    seen.asked(of(1, sequence_start=True), seen.begun())
    assert seen.may_pass_by(of(1))


def test_an_answer_that_comes_behind_the_end_begins_nothing():
    seen = SequencesSeen(10, 30, Clock())
    seen.asked(of(1, sequence_start=True), seen.begun())
    seen.asked(of(1, sequence_end=True), seen.begun())
    seen.asked(of(1), seen.begun())
    assert not seen.may_pass_by(of(1))


@pytest.mark.parametrize("none", [[1], {"a": 1}, 1.5])
def test_what_is_no_id_is_the_models_to_refuse(none: Any):
    seen = SequencesSeen(10, 30)
    assert in_sequence(of(none))
    assert not seen.may_pass_by(of(none))
    seen.asked(of(none, sequence_start=True), seen.begun())
    assert not seen.may_pass_by(of(none))
