"""Whether the event loop still turns, for a thread that wants to know."""

import asyncio
from time import monotonic

# Beats in the time that is allowed between two: one that comes late is not yet one too few.
BEATS = 10


class Pulse:
    """Beats once in a while on one event loop."""

    def __init__(self, seconds: float):
        """
        Args:
            seconds: of silence after which the loop counts as stuck.
        """
        self.seconds = seconds
        self._last = monotonic()

    async def beat(self) -> None:
        """Until it is cancelled."""
        while True:
            self._last = monotonic()
            await asyncio.sleep(self.seconds / BEATS)

    def silence(self) -> float:
        """Seconds since the last beat; less than `seconds` while the loop turns."""
        return monotonic() - self._last
