"""The runs of one service: found, and bounded in number and bytes."""

from __future__ import annotations

import asyncio

from ..errors import OverLimitError, UnreadError
from ..settings import ResumeSettings
from .figures import ROOM, UNREAD, ResumeFigures
from .run import Run
from .sharing import Sharing


class KeptRuns:
    """
    Attributes:
        bytes: what they hold, in all.
        figures: the metrics.
        sharing: what other instances have to do with them, where there is a store.
    """

    def __init__(self, settings: ResumeSettings, figures: ResumeFigures):
        self.bytes = 0
        self.figures = figures
        self.sharing: Sharing | None = None
        self._settings = settings
        self._runs: dict[str, Run] = {}
        # Each caller's, the oldest first.
        self._owned: dict[str, dict[str, Run]] = {}
        # Those that have ended, in that order: all that is looked through where room is needed.
        self._ended: dict[str, Run] = {}
        self._waiting: set[asyncio.Future[None]] = set()
        self.figures.hold(lambda: len(self._runs), lambda: self.bytes)

    def keep(self, run: Run) -> Run:
        """Let a run be found."""
        self._runs[run.head.id] = run
        self._owned.setdefault(run.head.owner, {})[run.head.id] = run
        return run

    def admit(self, owner: str) -> None:
        """Make room for one more of a caller's.

        Raises:
            OverLimitError
        """
        own = self._owned.get(owner)
        if own is None or len(own) < self._settings.streams:
            return
        for run in own.values():
            if run.ended and not run.readers:
                self._throw_away(run)
                return
        raise OverLimitError(
            f"You have as many resumable streams as may be, {self._settings.streams}; "
            "cancel one (DELETE /v2/streams/<id>), or try again when one has ended."
        )

    # What runs share.

    def count(self, bytes: int) -> None:
        self.bytes += bytes
        # Hundreds may wait: not in vain, each time that one of them holds a little less.
        if bytes < 0 and self._waiting and self.bytes <= self._settings.bytes_in_all:
            for room in self._waiting:
                if not room.done():
                    room.set_result(None)

    def has_room(self) -> bool:
        while self.bytes > self._settings.bytes_in_all:
            found = (run for run in self._ended.values() if not run.readers)
            oldest = next(found, None)
            if oldest is None:
                return False
            self._throw_away(oldest)
        return True

    def has_ended(self, run: Run) -> None:
        if not run.is_forgotten:
            self._ended[run.head.id] = run

    def wait(self, room: asyncio.Future[None]) -> None:
        self._waiting.add(room)
        room.add_done_callback(self._waiting.discard)  # set, or nobody waits any more

    def forget(self, run: Run) -> None:
        head = run.head
        if isinstance(run.error, UnreadError):
            self.figures.dropped[UNREAD].inc()
        self._runs.pop(head.id, None)
        self._ended.pop(head.id, None)
        if own := self._owned.get(head.owner):
            own.pop(head.id, None)
            if not own:
                del self._owned[head.owner]

    def delete(self, run: Run) -> asyncio.Task[None] | None:
        return None if self.sharing is None else self.sharing.delete(run)

    def _throw_away(self, run: Run) -> None:
        self.figures.dropped[ROOM].inc()
        run.forget()
