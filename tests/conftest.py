"""What every test runs under."""

import signal

import pytest
from hypothesis import HealthCheck, settings

# These take longest: begun last, they would keep one process busy while the others have ended.
BEGIN = ("live/test_workers.py", "tests/test_benchmarks.py", "live/test_faults.py")

# Enough to find what a reviewer would, few enough for a busy two-core machine. No deadline: a slow
# machine is no failure.
settings.register_profile(
    "project", max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("project")

# A script's shell has what it runs in the background ignore Ctrl-C, and children inherit that; the
# tests of Ctrl-C are about a program that somebody watches.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: not item.path.as_posix().endswith(BEGIN))
