"""Newcomers first: while calls are coming in, running streams go on one at a time.

grpc.aio accepts one call in a round of the event loop. If every running stream wrote a message in
each round, the last of many calls that come at once would wait for all the others' answers.
"""

import asyncio
from collections import deque
from time import monotonic

# So long after the last of them, and so many rounds of the loop, no other is expected. Rounds are
# long where many streams have much to say.
CALM_SECONDS, CALM_ROUNDS = 0.005, 8


class Turnstile:
    """Lets streams pass: freely, or one for each round of the loop."""

    def __init__(self) -> None:
        self._calm_at = 0.0
        self._rounds_left = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    def arrived(self) -> None:
        """A call has come in, or a stream's first response is about to leave: of calls that came
        together, others are on their way to theirs."""
        self._calm_at, self._rounds_left = monotonic() + CALM_SECONDS, CALM_ROUNDS

    def is_open(self) -> bool:
        """Whether a stream may go on without waiting."""
        return not self._waiting and self._is_calm()

    async def turn(self) -> None:
        """Wait for this stream's turn: a round for each stream that came before."""
        loop = asyncio.get_running_loop()
        turn = loop.create_future()
        if not self._waiting:
            loop.call_soon(self._go_round)
        self._waiting.append(turn)
        await turn

    def _is_calm(self) -> bool:
        return self._rounds_left <= 0 and monotonic() >= self._calm_at

    def _go_round(self) -> None:
        let_all = self._is_calm()
        self._rounds_left -= 1
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():  # cancelled
                turn.set_result(None)
                if not let_all:
                    break
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._go_round)
