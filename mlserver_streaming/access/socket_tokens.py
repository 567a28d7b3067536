"""Tokens that open one socket each, bought with a key: for browsers, which cannot send headers.

They are random and kept here, each as its digest, until they are used or end. So a token is good
for one use, and in the process that made it.
"""

from __future__ import annotations

import heapq
import secrets
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

from ..errors import OverLimitError, UnauthenticatedError
from .callers import INFER, Caller
from .keys_file import digest

PREFIX = "mlt_"
SECRET_BYTES = 32
# Those that are neither used nor over.
MOST_OF_ONE, MOST = 1_000, 50_000
# Used ones whose end is remembered yet.
USED_KEPT = 100

UNKNOWN = (
    "The socket's token is not known here: it was used, or is over; POST /v2/tokens gives another."
)


def new_token() -> str:
    """One that opens nothing."""
    return PREFIX + secrets.token_urlsafe(SECRET_BYTES)


class SocketTokens:
    """Those that are good now."""

    def __init__(self, now: Callable[[], float] = time.monotonic):
        self._now = now
        self._callers: dict[bytes, Caller] = {}
        self._ends: list[tuple[float, bytes]] = []
        self._of_one: Counter[str] = Counter()

    def make(self, caller: Caller, model: str, seconds: float) -> str:
        """A token that stands for a caller, and opens sockets to one model.

        Args:
            seconds: until it must have been used.

        Raises:
            OverLimitError: there are too many.
        """
        self._forget()
        if self._of_one[caller.identity] >= MOST_OF_ONE or len(self._callers) >= MOST:
            raise OverLimitError("Too many tokens wait to be used; try again in a moment.")
        token = new_token()
        key = digest(token)
        roles, models = frozenset({INFER}), frozenset({model})
        self._callers[key] = replace(caller, roles=roles, models=models)
        self._of_one[caller.identity] += 1
        heapq.heappush(self._ends, (self._now() + seconds, key))
        return token

    def take(self, token: str) -> Caller:
        """Whom a token stands for; it is used up by that.

        Raises:
            UnauthenticatedError: it is not known, or over.
        """
        self._forget()
        # Looked up by its digest: how long that takes tells nothing of a token.
        caller = self._remove(digest(token))
        if caller is None:
            raise UnauthenticatedError(UNKNOWN)
        return caller

    def _forget(self) -> None:
        """Let go of those that are over."""
        now = self._now()
        while self._ends and self._ends[0][0] <= now:
            self._remove(heapq.heappop(self._ends)[1])
        if len(self._ends) > 2 * len(self._callers) + USED_KEPT:
            # Those that were used: who uses many must not cost the others theirs, nor memory.
            self._ends = [end for end in self._ends if end[1] in self._callers]
            heapq.heapify(self._ends)

    def _remove(self, key: bytes) -> Caller | None:
        caller = self._callers.pop(key, None)
        if caller is not None:
            self._of_one[caller.identity] -= 1
            if not self._of_one[caller.identity]:
                del self._of_one[caller.identity]
        return caller
