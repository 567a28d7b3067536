"""How a client is sent away: no more calls, and those that run go on.

First all that it may have sent is let in, and then what it has sent before it answered:
https://www.rfc-editor.org/rfc/rfc9113#section-6.8
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from .wire import LAST_STREAM

# How long a client may take to answer that it knows that we go.
GOAWAY_SECONDS = 1.0
LEAVING = b"leaving."


class Left(Protocol):
    """What leaving needs of its connection."""

    def ask(self, data: bytes) -> None:
        """Send a ping, in the next write."""

    def flush(self) -> None:
        """Write what is to be written now."""

    def say_goodbye(self, last_stream: int | None = None) -> None:
        """Send GOAWAY now; None is the last call that has come."""

    def later(self, seconds: float, then: Callable[[], Any]) -> None:
        """Have it called, unless the connection is closed before."""


class Leaving:
    """Of one connection.

    Attributes:
        is_refusing: whether a call that comes is refused.
    """

    def __init__(self, connection: Left):
        self.is_refusing = False
        self._connection = connection
        self._has_begun = False

    def begin(self) -> None:
        if not self._has_begun:
            self._has_begun = True
            self._connection.ask(LEAVING)
            self._connection.flush()
            self._connection.say_goodbye(LAST_STREAM)
            self._connection.later(GOAWAY_SECONDS, self.refuse)

    def refuse(self) -> None:
        """The client knows, or has had its time."""
        if not self.is_refusing:
            self._connection.flush()
            self.is_refusing = True
            self._connection.say_goodbye()
            self._connection.flush()  # closes, where no call runs
