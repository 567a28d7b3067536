"""What every test runs under."""

import signal

from hypothesis import HealthCheck, settings

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
