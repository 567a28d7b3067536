"""Streams that never wait go on one after another: between their turns the loop goes round.

If each of them went on in every round, a call that comes in would wait for all of them, more than
once, and their turns had to be so short that waking them were a tenth of the work.
"""

import asyncio
from collections import deque
from time import monotonic

# How long a stream that never waits may go on before the others, and its client, get a turn.
TURN_SECONDS = 0.0005
# Of so many streams each has turns of that length; of more, shorter ones, and comes as often.
STREAMS = 32
# In a round of the loop they have as much time as all else had in the last; so much at most.
ROUND_SECONDS = 0.004


class Rotation:
    """Lets streams go on, in the order in which they came."""

    def __init__(self, turn_seconds: float = TURN_SECONDS) -> None:
        self._turn_seconds = turn_seconds
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._is_going = self._has_one = False
        # When the turns of the last round ended, and those of this one began.
        self._ended = self._begun = 0.0

    @property
    def seconds(self) -> float:
        """How long a stream that never waits may go on now."""
        return self._turn_seconds * min(1.0, STREAMS / (len(self._waiting) + 1))

    async def turn(self) -> None:
        """Let the loop go round, and the others go on, if there are any."""
        if self._waiting or self._has_one:
            await self.wait()
            return
        # A future and who gives it cost as much as a few words: not for one who is alone.
        self._has_one = True
        try:
            await asyncio.sleep(0)
        finally:
            self._has_one = False

    async def wait(self) -> None:
        """Wait until it is this stream's turn again, behind whatever is read meanwhile."""
        loop = asyncio.get_running_loop()
        turn = loop.create_future()
        self._waiting.append(turn)
        if not self._is_going:
            self._is_going = True
            self._ended = self._begun = monotonic()
            loop.call_soon(self._go_round, loop)
        await turn

    def _begin(self) -> None:
        self._begun = monotonic()

    def _go_round(self, loop: asyncio.AbstractEventLoop) -> None:
        if not self._waiting:
            self._is_going = False
            return
        others, self._ended = self._begun - self._ended, monotonic()
        left, seconds = min(max(others, TURN_SECONDS), ROUND_SECONDS), self.seconds
        # In the next round all of these run in one piece: the clock, the turns, and this again.
        loop.call_soon(self._begin)
        while self._waiting and left > 0:
            turn = self._waiting.popleft()
            if not turn.done():  # cancelled
                turn.set_result(None)
                left -= seconds
        loop.call_soon(self._go_round, loop)
