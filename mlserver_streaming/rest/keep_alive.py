"""How long a connection stays open between two requests."""

import asyncio
from collections.abc import Callable


class KeepAlive:
    """Gives a connection up that has had nothing to do for a while.

    One timer for many pauses: to begin and to cancel one between any two requests takes as long as
    reading a small one does.
    """

    __slots__ = ("_close", "_idle_since", "_loop", "_seconds", "_timer")

    def __init__(self, loop: asyncio.AbstractEventLoop, seconds: float, close: Callable[[], None]):
        """
        Args:
            close: called when a pause has lasted so many seconds.
        """
        self._loop = loop
        self._seconds = seconds
        self._close = close
        self._idle_since: float | None = None
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """A pause begins."""
        self._idle_since = self._loop.time()
        if self._timer is None:
            self._timer = self._loop.call_later(self._seconds, self._look)

    def end(self) -> None:
        """It is over."""
        self._idle_since = None

    def stop(self) -> None:
        """The connection is gone, or another's."""
        self.end()
        self._close = _nothing  # it holds this
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        if self._idle_since is None:
            return
        left = self._idle_since + self._seconds - self._loop.time()
        if left > 0:
            self._timer = self._loop.call_later(left, self._look)
        else:
            self._close()


def _nothing() -> None:
    """There is no connection to be closed."""
