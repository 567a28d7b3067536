"""Whether a client that says nothing is still there.

https://github.com/grpc/grpc/blob/master/doc/keepalive.md
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from .running import Bounds


class Keepalive:
    """Asks a client that is silent, again and again, until it is stopped.

    Args:
        ask: send a ping.
        end: the client has not answered.
    """

    def __init__(self, bounds: Bounds, ask: Callable[[], None], end: Callable[[], None]):
        self._loop = asyncio.get_running_loop()
        self._seconds = bounds.keepalive_seconds
        self._timeout_seconds = bounds.keepalive_timeout_seconds
        self._ask, self._end = ask, end
        self._heard_at = self._loop.time()
        self._timer = self._loop.call_later(self._seconds, self._check)

    def heard(self) -> None:
        """It has said something."""
        self._heard_at = self._loop.time()

    def stop(self) -> None:
        self._timer.cancel()

    def _check(self) -> None:
        now = self._loop.time()
        rest = self._seconds - (now - self._heard_at)
        if rest > 0:
            self._timer = self._loop.call_later(rest, self._check)
        else:
            self._ask()
            self._timer = self._loop.call_later(self._timeout_seconds, self._check_answer, now)

    def _check_answer(self, asked_at: float) -> None:
        if self._heard_at < asked_at:
            self._end()
        else:
            self._check()
