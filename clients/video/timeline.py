"""The times of a source's pictures as they are to be shown. No I/O."""

from __future__ import annotations

from fractions import Fraction


class Timeline:
    """Seconds from the first picture, which never run back.

    A clock that jumps back by more than a picture's time is a clock that was set anew (a recording
    that was joined, a source that came back): what follows goes on where it was. A jump forward is
    a silence, and stays.
    """

    def __init__(self, fps: Fraction) -> None:
        """
        Args:
            fps: pictures a second, for those that have no time of their own.
        """
        self._step = 1 / fps
        self._offset: Fraction | None = None
        self._last: Fraction | None = None

    def place(self, clock: Fraction | None) -> Fraction:
        """Where the next picture stands, by the source's clock; None where that does not say."""
        if self._last is None:
            self._last = Fraction(0)
            self._offset = None if clock is None else -clock
            return self._last
        found = self._last + self._step
        if clock is not None and self._offset is not None:
            own = clock + self._offset
            if own < self._last - self._step:
                self._offset = found - clock
            else:
                found = max(own, self._last)
        elif clock is not None:
            self._offset = found - clock
        self._last = found
        return found
