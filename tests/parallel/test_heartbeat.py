"""When a worker counts as stopped: its silence as the service saw it, not as clocks tell."""

import multiprocessing
import os

import pytest

from mlserver_streaming.parallel.heartbeat import MOST_SECONDS, Heartbeat

LOOK = 0.1


class Looking:
    """A service that looks every LOOK seconds at a worker that may be silent for a second."""

    def __init__(self, seconds=1.0):
        heard, self._beats = multiprocessing.Pipe(duplex=False)
        self.heartbeat = Heartbeat(heard, seconds)
        self.now = 1000.0

    def beat(self):
        os.write(self._beats.fileno(), b".")

    def looks(self, count, excused=False):
        """What it finds, each time."""
        found = []
        for _ in range(count):
            self.now += LOOK
            found.append(self.heartbeat.has_stopped(self.now, excused))
        return found


@pytest.fixture
def looking():
    return Looking()


def test_silence_counts_from_the_last_beat(looking):
    looking.beat()
    assert not any(looking.looks(10))
    looking.beat()
    assert not any(looking.looks(10))
    assert looking.looks(1) == [True]


def test_a_worker_that_starts_has_its_time(looking):
    assert not any(looking.looks(1000))


def test_one_that_loads_is_excused(looking):
    looking.beat()
    assert not any(looking.looks(1000, excused=True))
    assert looking.looks(11)[-1]


def test_a_service_that_stood_still_itself_blames_nobody(looking):
    looking.beat()
    looking.looks(1)
    looking.now += 3600
    assert looking.looks(1) == [False]
    looking.beat()
    assert not any(looking.looks(10))
    assert MOST_SECONDS < 1


def test_any_silence_is_allowed_where_the_setting_is_null():
    looking = Looking(None)
    looking.beat()
    assert not any(looking.looks(1000))
