"""The calls of one connection that have something to send, in turns."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping

from .call import Call
from .frames import Allowance
from .wire import Wire

# What one round writes.
ROUND_BYTES = 256 * 1024


class Sending:
    """A queue of calls.

    Args:
        idle: what the client may send that moves nothing; renewed as something moves.
    """

    def __init__(self, wire: Wire, idle: Allowance):
        self._wire = wire
        self._idle = idle
        self._calls: deque[Call] = deque()

    def __bool__(self) -> bool:
        return bool(self._calls)

    def put(self, call: Call) -> None:
        if not call.is_queued:
            call.is_queued = True
            self._calls.append(call)

    def clear(self) -> None:
        self._calls.clear()

    def send(self, running: Mapping[int, Call]) -> Iterator[Call]:
        """A frame of each call that has some, while its client takes them; those that have said all
        but their status."""
        left = ROUND_BYTES
        while self._calls and left > 0:
            call = self._calls.popleft()
            call.is_queued = False
            if running.get(call.stream) is call:
                left -= self._send(call)
                if call.closing is not None and not call.ready:
                    yield call

    def _send(self, call: Call) -> int:
        if call.opening is not None:
            self._wire.say(call.stream, call.opening)
            call.opening = None
        if not call.ready:
            return 0
        if (room := self._wire.room(call.stream)) <= 0:
            return 0  # until its window grows
        data = call.ready.cut(room)
        self._wire.put(call.stream, data)
        self._idle.renew()
        if call.ready:
            self.put(call)
        return len(data)
