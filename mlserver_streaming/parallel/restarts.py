"""How long to wait before a worker is started again. Pure."""

# A worker that has worked for so long was sound: the next one starts at once.
STEADY_SECONDS = 30.0
# One that died sooner, or never got ready: a second, then twice as long each time, up to a minute.
FIRST_SECONDS, LONGEST_SECONDS = 1.0, 60.0


class Pauses:
    """The pauses of one worker's place, whoever takes it."""

    def __init__(self) -> None:
        self._failures = 0

    def next(self, seconds: float) -> float:
        """The pause after a worker that was ready for so long; 0 s where it never was."""
        if seconds >= STEADY_SECONDS:
            self._failures = 0
            return 0.0
        self._failures += 1
        if seconds > 0 and self._failures == 1:
            return 0.0
        doubled: float = FIRST_SECONDS * 2.0 ** min(self._failures - 1, 10)
        return min(doubled, LONGEST_SECONDS)
