"""Streams that go on under another id, as far as this instance knows."""

from __future__ import annotations

from .run import Run


class Moves:
    def __init__(self) -> None:
        # What goes on, and behind which response.
        self._moved: dict[str, tuple[Run, int]] = {}

    def add(self, stream: str, run: Run, last: int) -> None:
        """A stream goes on as a run, behind a response."""
        for known, (each, _) in list(self._moved.items()):
            if each.is_forgotten:
                del self._moved[known]
        self._moved[stream] = run, last

    def of(self, stream: str, owner: str) -> Run | None:
        """What goes on with a stream of a caller, while it can be found."""
        run, _ = self._moved.get(stream, (None, 0))
        return run if run is not None and run.head.owner == owner and not run.is_forgotten else None

    def behind(self, stream: str) -> int:
        """The last response of a stream that moved."""
        return self._moved[stream][1]
