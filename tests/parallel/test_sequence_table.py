"""Where sequences live."""

import pytest
from mlserver.types import InferenceRequest

from mlserver_streaming.errors import OverLimitError
from mlserver_streaming.parallel.sequence_table import Flags, SequenceTable, flags_of

MODEL = ("m", None)
START, GO_ON, END = (True, False), (False, False), (False, True)


def table(limit: int = 3, reported: bool = True, idle: float = 60) -> SequenceTable:
    found = SequenceTable()
    found.add_model(MODEL, limit, idle, reported)
    return found


def come(found: SequenceTable, id: int | str, kind: tuple[bool, bool], worker: str, now=0.0) -> str:
    """A request, which goes to `worker` where its sequence lives nowhere; where it goes."""
    flags = Flags(id, *kind)
    where = found.worker_of(MODEL, flags, now)
    if where is not None:
        return str(where)
    found.enter(MODEL, flags, worker, now)
    return worker


def test_a_sequence_stays_where_it_began():
    found = table()
    assert come(found, 1, START, "a") == "a"
    assert come(found, 1, GO_ON, "b") == "a"
    assert come(found, "1", START, "b") == "b"  # another id
    assert found.count(MODEL) == 2


def test_it_is_over_when_the_worker_says_so_not_before():
    found = table()
    come(found, 1, START, "a")
    assert come(found, 1, END, "b") == "a"
    assert found.count(MODEL) == 1  # the END may be refused
    found.gone(MODEL, [1], "b")  # another worker's word
    assert found.count(MODEL) == 1
    found.gone(MODEL, [1, 2], "a")
    assert found.count(MODEL) == 0
    assert come(found, 1, START, "b") == "b"


def test_one_more_than_may_live_on_all_workers_together_is_refused():
    found = table(limit=2)
    come(found, 1, START, "a")
    come(found, 2, START, "b")
    with pytest.raises(OverLimitError) as caught:
        come(found, 3, START, "a")
    assert str(caught.value) == (
        "Model 'm' has 2 live sequences, as many as it takes; end one, or try again later."
    )
    assert caught.value.status_code == 429
    assert come(found, 4, (True, True), "b") == "b"  # a whole sequence lives nowhere
    assert come(found, 1, GO_ON, "b") == "a"


def test_without_start_nothing_is_entered():
    found = table()
    assert come(found, 1, GO_ON, "a") == "a"
    assert found.count(MODEL) == 0


def test_a_worker_that_is_lost_takes_its_sequences_with_it():
    found = table()
    come(found, 1, START, "a")
    come(found, 2, START, "b")
    found.lost("a")
    assert found.count(MODEL) == 1
    assert come(found, 1, GO_ON, "b") == "b"


def test_a_model_that_reports_is_not_second_guessed():
    found = table(idle=1)
    come(found, 1, START, "a")
    assert come(found, 1, GO_ON, "b", now=1000) == "a"


def test_for_other_models_a_sequence_is_entered_at_first_sight_and_given_up_when_idle():
    found = table(reported=False, idle=10)
    assert come(found, 1, GO_ON, "a") == "a"
    assert come(found, 1, GO_ON, "b", now=9) == "a"
    assert come(found, 1, GO_ON, "b", now=18) == "a"
    assert come(found, 1, GO_ON, "b", now=28) == "b"
    assert come(found, 1, END, "c", now=29) == "b"
    assert come(found, 1, GO_ON, "c", now=29) == "c"


def test_for_other_models_the_oldest_makes_room():
    found = table(limit=2, reported=False)
    for id in (1, 2, 3):
        come(found, id, START, "a")
    assert found.count(MODEL) == 2
    assert come(found, 1, GO_ON, "b") == "b"


def test_a_model_that_is_gone_has_none():
    found = table()
    come(found, 1, START, "a")
    found.remove_model(MODEL)
    assert found.count(MODEL) == 0
    assert come(found, 1, GO_ON, "b") == "b"
    found.gone(MODEL, [1], "a")


def request(**parameters: object) -> InferenceRequest:
    return InferenceRequest(inputs=[], parameters=parameters or None)


@pytest.mark.parametrize(
    ("parameters", "flags"),
    [
        ({}, None),
        ({"sequence_start": True}, None),
        ({"sequence_id": 0}, None),
        ({"sequence_id": ""}, None),
        ({"sequence_id": True}, None),
        ({"sequence_id": 1.5}, None),
        ({"sequence_id": 7}, Flags(7, False, False)),
        ({"sequence_id": "7", "sequence_start": True}, Flags("7", True, False)),
        ({"sequence_id": 7, "sequence_end": True}, Flags(7, False, True)),
    ],
)
def test_what_a_request_says(parameters: dict[str, object], flags: Flags | None):
    assert flags_of(request(**parameters)) == flags
