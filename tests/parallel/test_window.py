"""How far a worker may be ahead."""

from mlserver_streaming.parallel.window import AHEAD_BYTES, Window


def test_large_responses_are_counted():
    window = Window(3)
    for _ in range(2):
        window.sent(AHEAD_BYTES)
        assert not window.is_full
    window.sent(AHEAD_BYTES)
    assert window.is_full
    window.taken(1)
    assert not window.is_full


def test_small_ones_may_be_more_up_to_their_bytes():
    window = Window(3)
    sent = 0
    while not window.is_full:
        window.sent(256)
        sent += 1
    assert sent == AHEAD_BYTES // 256
    window.taken(1)
    assert not window.is_full


def test_more_credit_than_was_used_does_no_harm():
    window = Window(1)
    window.sent(10)
    window.taken(5)
    for _ in range(2):
        window.sent(AHEAD_BYTES)
    assert window.is_full
