"""How fast the machine is at the moment: shared ones change by the hour, and figures with them."""

import time
from statistics import median

# Some 0.1 s of plain Python where nothing else runs.
TURNS = 2_000_000
TIMES = 3


def speed_ms() -> float:
    """Milliseconds that a fixed loop of Python takes, the median of a few."""
    return median(_loop() for _ in range(TIMES))


def _loop() -> float:
    begun, total = time.perf_counter(), 0
    for number in range(TURNS):
        total += number & 3
    return 1e3 * (time.perf_counter() - begun)
