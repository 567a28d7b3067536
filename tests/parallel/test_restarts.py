"""How long a worker's place stays empty."""

from mlserver_streaming.parallel.restarts import LONGEST_SECONDS, STEADY_SECONDS, Pauses


def test_a_sound_worker_is_replaced_at_once():
    pauses = Pauses()
    assert [pauses.next(STEADY_SECONDS) for _ in range(3)] == [0, 0, 0]


def test_the_first_that_dies_young_too():
    assert Pauses().next(1.0) == 0


def test_one_that_never_gets_ready_waits_longer_and_longer_up_to_a_minute():
    pauses = Pauses()
    found = [pauses.next(0) for _ in range(9)]
    assert found == [1, 2, 4, 8, 16, 32, LONGEST_SECONDS, LONGEST_SECONDS, LONGEST_SECONDS]


def test_one_that_dies_young_again_and_again_waits_too():
    pauses = Pauses()
    assert [pauses.next(2.0) for _ in range(4)] == [0, 2, 4, 8]


def test_a_sound_life_makes_good():
    pauses = Pauses()
    for _ in range(5):
        pauses.next(0)
    pauses.next(STEADY_SECONDS)
    assert pauses.next(0) == 1
