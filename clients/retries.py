"""When a call that failed is made again: a bounded number of times, after growing pauses.

What may be tried again at all is up to who asks: only what nobody has begun to answer. A request of
a sequence changes what its model remembers, and nobody knows whether a server that went away had
read it: it is sent again only where nothing of it can have arrived.
"""

from __future__ import annotations

import asyncio
import random

from .errors import ClientError, UnreachableError

TRIES = 5
# With the jitter, about 2 s in all: a proxy has found out by then which replicas are gone.
FIRST_PAUSE_S = 0.15
GROWTH = 2.0
# The longest that a server may ask for; one that wants more is not asked again.
LONGEST_PAUSE_S = 30.0


class Retries:
    """The tries that one request, or what is left of a stream, still has."""

    def __init__(self, in_sequence: bool = False, tries: int = TRIES) -> None:
        """
        Args:
            in_sequence: whether what is sent changes what its model remembers.
        """
        self._in_sequence, self._tries = in_sequence, tries
        self.restart()

    def restart(self) -> None:
        """Something was answered: what comes now has all tries."""
        self._left, self._pause = self._tries - 1, FIRST_PAUSE_S

    def may(self, error: ClientError) -> bool:
        """Whether what ended so may be tried again, were there tries left."""
        return isinstance(error, UnreachableError) if self._in_sequence else error.passing

    async def after(self, error: ClientError) -> None:
        """Wait until it is time for the next try; raises `error` where there is none."""
        wait = max(self._pause * random.uniform(0.5, 1.5), error.retry_after or 0.0)
        if not self.may(error) or not self._left or wait > LONGEST_PAUSE_S:
            # Who asked for this call need not try it again.
            error.passing = False
            raise error
        self._left -= 1
        self._pause *= GROWTH
        await asyncio.sleep(wait)
