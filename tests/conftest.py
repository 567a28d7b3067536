"""What every test runs under."""

from hypothesis import HealthCheck, settings

# Enough to find what a reviewer would, few enough for a busy two-core machine. No deadline: a slow
# machine is no failure.
settings.register_profile(
    "project", max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("project")
