"""A worker's report of the sequences that its models hold no longer."""

from mlserver_streaming.parallel.held_sequences import HeldSequences
from mlserver_streaming.parallel.sequence_table import Flags

KEY = ("m", None)
START = Flags(1, True, False)


def gone(held: HeldSequences, **arguments: bool) -> list[int | str]:
    return [id for _, ids in held.gone(**arguments) for id in ids]


def test_what_is_not_held_yet_is_not_gone():
    held, model = HeldSequences(), set[int]()
    held.note(KEY, model, START)
    assert gone(held) == []
    model.add(1)
    assert gone(held) == []
    model.remove(1)
    assert gone(held) == [1]
    assert gone(held) == []
    assert len(held) == 0


def test_what_was_silent_too_long_is_found_when_all_are_looked_at():
    held, model = HeldSequences(), {1, 2}
    held.note(KEY, model, START)
    held.note(KEY, model, Flags(2, True, False))
    assert gone(held, all_of_them=True) == []
    model.remove(1)
    assert gone(held) == []  # nothing came for it lately
    assert gone(held, all_of_them=True) == [1]


def test_what_was_refused():
    held, model = HeldSequences(), {2}
    held.note(KEY, model, START)
    held.note(KEY, model, Flags(2, True, False))
    assert held.refused(KEY, 1) == [1]
    assert held.refused(KEY, 1) == []
    assert held.refused(KEY, 2) == []
    assert held.refused(("other", None), 2) == []
    assert gone(held, all_of_them=True) == []


def test_requests_of_sequences_that_began_elsewhere_are_not_reported():
    held, model = HeldSequences(), set[int]()
    held.note(KEY, model, Flags(1, False, False))
    held.note(KEY, model, Flags(2, True, True))
    assert gone(held, all_of_them=True) == []


def test_a_model_that_was_loaded_again_begins_with_none():
    held, old, new = HeldSequences(), {1}, set[int]()
    held.note(KEY, old, START)
    assert gone(held) == []
    held.note(KEY, new, Flags(2, True, False))
    assert gone(held, all_of_them=True) == []
    assert len(held) == 1
