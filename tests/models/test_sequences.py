"""The rules of sequences: who may follow whom, how many live, when one is given up."""

from collections.abc import Hashable
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from mlserver_streaming.models.errors import BusyError, ParameterError, RequestError
from mlserver_streaming.models.sequences import MAX_ID, Flags, Move, Sequences, sequence_flags
from tests.runtimes.asking import ask

LIVE, ABSENT = True, False


def table(*live: Hashable, limit: int = 10, idle: float = 60) -> Sequences:
    sequences = Sequences("m", limit, idle)
    for id in live:
        sequences.admit(Flags(id, start=True, end=False), now=0)
    return sequences


@pytest.mark.parametrize(
    ("live", "start", "end", "outcome"),
    [
        (ABSENT, True, False, Move.START),
        (ABSENT, True, True, Move.WHOLE),
        (ABSENT, False, True, "START is missing"),
        (ABSENT, False, False, "START is missing"),
        (LIVE, False, False, Move.CONTINUE),
        (LIVE, False, True, Move.END),
        (LIVE, True, False, "is under way"),
        (LIVE, True, True, "is under way"),
    ],
)
def test_every_move(live: bool, start: bool, end: bool, outcome: Move | str) -> None:
    sequences = table(*([7] if live else []))
    flags = Flags(7, start, end)
    if isinstance(outcome, Move):
        sequence, move = sequences.admit(flags, now=1)
        assert (sequence.id, move) == (7, outcome)
        assert len(sequences) == (0 if move.ends else 1)
        return
    with pytest.raises(RequestError) as caught:
        sequences.admit(flags, now=1)
    assert caught.value.status_code == 400
    assert len(sequences) == live  # nothing has changed
    if outcome == "START is missing":
        assert str(caught.value) == (
            "inference request for sequence 7 to model 'm' must specify the START flag on the "
            "first request of the sequence"
        )
    else:
        assert outcome in str(caught.value)


def test_a_refused_request_does_not_keep_a_sequence_alive() -> None:
    sequences = table(7, idle=60)
    with pytest.raises(RequestError):
        sequences.admit(Flags(7, start=True, end=False), now=59)
    assert sequences.next_expiry() == 60


def test_one_past_the_limit_is_busy_until_one_ends() -> None:
    sequences = table(1, 2, limit=2)
    with pytest.raises(BusyError) as caught:
        sequences.admit(Flags(3, start=True, end=False), now=1)
    assert caught.value.status_code == 429
    sequences.admit(Flags(1, start=False, end=True), now=2)
    assert sequences.admit(Flags(3, start=True, end=False), now=3)[1] is Move.START


def test_a_whole_sequence_in_one_request_needs_no_room() -> None:
    assert table(1, limit=1).admit(Flags(2, start=True, end=True), now=1)[1] is Move.WHOLE


def test_state_is_kept_from_request_to_request_and_not_between_sequences() -> None:
    sequences = table(1, 2)
    sequences.admit(Flags(1, False, False), now=1)[0].state = "one"
    sequences.admit(Flags(2, False, False), now=1)[0].state = "two"
    assert sequences.admit(Flags(1, False, True), now=2)[0].state == "one"
    assert sequences.admit(Flags(1, True, False), now=3)[0].state is None
    assert sequences.admit(Flags(2, False, False), now=3)[0].state == "two"


def test_the_number_and_its_text_are_two_sequences() -> None:
    sequences = table(7, "7")
    assert len(sequences) == 2


def test_silence_gives_a_sequence_up_and_a_request_puts_it_off() -> None:
    sequences = table(1, 2, idle=60)
    sequences.admit(Flags(1, False, False), now=50)
    assert sequences.next_expiry() == 60
    assert sequences.expire(now=59.9) == []
    assert [sequence.id for sequence in sequences.expire(now=60)] == [2]
    assert sequences.next_expiry() == 110
    with pytest.raises(RequestError, match="START"):
        sequences.admit(Flags(2, False, False), now=61)
    assert [sequence.id for sequence in sequences.expire(now=1000)] == [1]
    assert sequences.next_expiry() is None
    assert len(sequences) == 0


class AnySequences(RuleBasedStateMachine):
    """Requests as they may come, beside a model that is a dictionary of times."""

    LIMIT, IDLE = 3, 10

    def __init__(self) -> None:
        super().__init__()
        self.sequences = Sequences("m", self.LIMIT, self.IDLE)
        self.seen: dict[Hashable, float] = {}
        self.now = 0.0

    @rule(
        id=st.sampled_from([1, 2, 3, 4, 5, "1", "a"]),
        start=st.booleans(),
        end=st.booleans(),
    )
    def request(self, id: int | str, start: bool, end: bool) -> None:
        live = id in self.seen
        room = live or end or len(self.seen) < self.LIMIT
        try:
            sequence, move = self.sequences.admit(Flags(id, start, end), self.now)
        except BusyError:
            assert start and not room
        except RequestError:
            assert live == start
        else:
            assert live != start and room
            assert (move.starts, move.ends, sequence.id) == (start, end, id)
            if end:
                self.seen.pop(id, None)
            else:
                self.seen[id] = self.now

    @rule(seconds=st.floats(0, 12))
    def silence(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: self.seen)
    @rule()
    def expire(self) -> None:
        due = {id for id, seen in self.seen.items() if seen + self.IDLE <= self.now}
        assert {sequence.id for sequence in self.sequences.expire(self.now)} == due
        for id in due:
            del self.seen[id]

    @invariant()
    def as_many_live_as_thought(self) -> None:
        assert len(self.sequences) == len(self.seen) <= self.LIMIT
        due = min(self.seen.values(), default=None)
        assert self.sequences.next_expiry() == (None if due is None else due + self.IDLE)


test_any_requests_in_any_order = AnySequences.TestCase


def flags_of(**parameters: Any) -> Flags | None:
    return sequence_flags(ask("x", ["data"], **parameters))


@pytest.mark.parametrize("id", [1, 7, MAX_ID, "a", "0", "7", " ", "x" * 128, "ünïcode"])
def test_an_id_is_a_whole_number_or_text(id: int | str) -> None:
    assert flags_of(sequence_id=id, sequence_start=True) == Flags(id, start=True, end=False)


@pytest.mark.parametrize("id", [0, "", None])
def test_no_id_is_no_sequence(id: Any) -> None:
    assert flags_of(sequence_id=id, sequence_start=True) is None
    assert flags_of(sequence_start=True) is None
    assert flags_of() is None


@pytest.mark.parametrize(
    "id", [1.0, 0.0, 1.5, float("nan"), True, False, -1, MAX_ID + 1, "x" * 129, [1], {"id": 1}]
)
def test_another_id_is_refused_by_name(id: Any) -> None:
    with pytest.raises(ParameterError, match="'sequence_id'") as caught:
        flags_of(sequence_id=id, sequence_start=True)
    assert caught.value.status_code == 400
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("name", ["sequence_start", "sequence_end"])
@pytest.mark.parametrize("value", ["maybe", 2, 1.0, [True]])
def test_a_flag_that_is_none_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(ParameterError, match=name):
        flags_of(sequence_id=7, **{name: value})


def test_flags_come_as_numbers_and_text_too() -> None:
    """Some clients have no booleans among their parameters."""
    assert flags_of(sequence_id=7, sequence_start=1, sequence_end="false") == Flags(7, True, False)
