"""Connections with nothing to do are given up, after their pause and not before."""

from types import SimpleNamespace

import pytest

from mlserver_streaming.rest.keep_alive import KeepAlive


class Loop:
    """A loop whose time goes on as it is told."""

    def __init__(self):
        self.now, self.timers = 0.0, []

    def time(self):
        return self.now

    def call_later(self, seconds, call):
        timer = SimpleNamespace(at=self.now + seconds, call=call)
        timer.cancel = lambda: self.timers.remove(timer)
        self.timers.append(timer)
        return timer

    def pass_to(self, when):
        while due := [timer for timer in self.timers if timer.at <= when]:
            self.timers.remove(due[0])
            self.now = due[0].at
            due[0].call()
        self.now = when


@pytest.fixture
def loop():
    return Loop()


@pytest.fixture
def closed():
    return []


@pytest.fixture
def keep_alive(loop, closed):
    return KeepAlive(loop, 5, lambda: closed.append(loop.now))


def test_a_pause_that_lasts_closes(keep_alive, loop, closed):
    keep_alive.begin()
    loop.pass_to(4.9)
    assert closed == []
    loop.pass_to(20)
    assert closed == [5]


def test_many_pauses_have_one_timer_and_each_its_whole_time(keep_alive, loop, closed):
    for second in range(4):
        loop.pass_to(second)
        keep_alive.end()
        keep_alive.begin()
        assert len(loop.timers) == 1
    loop.pass_to(20)
    assert closed == [8]


def test_a_long_request_is_no_pause(keep_alive, loop, closed):
    keep_alive.begin()
    loop.pass_to(1)
    keep_alive.end()
    loop.pass_to(60)
    assert closed == []
    keep_alive.begin()
    loop.pass_to(64.9)
    assert closed == []
    loop.pass_to(70)
    assert closed == [65]


def test_nothing_is_left_of_a_connection_that_is_gone(keep_alive, loop, closed):
    keep_alive.begin()
    keep_alive.stop()
    keep_alive.stop()
    assert loop.timers == closed == []
