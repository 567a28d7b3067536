"""How many streams an engine works at, and how many wait for that, first come first served."""

import asyncio
from collections import deque

from mlserver_streaming.models.errors import BusyError


class Slots:
    """`count` slots; `waiting` streams may wait for some."""

    def __init__(self, count: int, waiting: int):
        self.count = count
        self._free = count
        self._max_waiting = waiting
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def take(self, count: int) -> None:
        """Wait for `count` slots, at most all of them; give them back with `give_back`.

        Raises:
            BusyError: as many wait as may.
        """
        if not self._waiting and count <= self._free:
            self._free -= count
            return
        if len(self._waiting) >= self._max_waiting:
            raise BusyError(
                f"The model answers as many streams as it can, and {len(self._waiting)} wait; "
                "try again later."
            )
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append((count, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give_back(count)
            else:
                self._waiting = deque(each for each in self._waiting if each[1] is not turn)
                self._let_in()
            raise

    def give_back(self, count: int) -> None:
        self._free += count
        self._let_in()

    def _let_in(self) -> None:
        while self._waiting and self._waiting[0][0] <= self._free:
            count, turn = self._waiting.popleft()
            if not turn.done():
                self._free -= count
                turn.set_result(None)
