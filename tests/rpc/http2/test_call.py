"""What a call lets its client send ahead."""

from __future__ import annotations

import asyncio

from mlserver_streaming.rpc.http2.call import MOST_AHEAD_BYTES, Call
from mlserver_streaming.rpc.http2.messages import framed
from mlserver_streaming.rpc.http2.metadata import Asked
from mlserver_streaming.rpc.http2.wire import WINDOW_BYTES

MESSAGE = b"".join(framed([bytes(32 * 1024)]))


class Line:
    """A connection that counts what a call's client may send."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.peer = ""
        self.ahead = WINDOW_BYTES

    def has_ready(self, call: Call) -> None: ...

    def give_up(self, call: Call) -> None: ...

    def grant(self, call: Call, size: int) -> None:
        self.ahead += size

    def fill(self, call: Call) -> None:
        """The client sends all that it may."""
        while self.ahead >= len(MESSAGE):
            self.ahead -= len(MESSAGE)
            call.put(MESSAGE, len(MESSAGE))


async def test_a_reader_that_waits_lets_more_come() -> None:
    line = Line()
    call = Call(line, 1, Asked("/s/m", (), None, "identity"), 2**20)
    reading, seen = asyncio.create_task(_read_all(call)), set()
    for _ in range(30):
        line.fill(call)
        for _ in range(3):  # it is woken, and reads all
            await asyncio.sleep(0)
        assert call._inbox.is_empty
        seen.add(call._ahead)
        assert call._ahead * 3 // 4 <= line.ahead <= call._ahead
    assert seen == {n * WINDOW_BYTES for n in (1, 2, 4, 8)} and max(seen) == MOST_AHEAD_BYTES
    reading.cancel()


async def test_a_reader_that_has_enough_to_do_does_not() -> None:
    line = Line()
    call = Call(line, 1, Asked("/s/m", (), None, "identity"), 2**20)
    for _ in range(30):
        line.fill(call)
        await anext(call)
        assert call._inbox.held + line.ahead <= WINDOW_BYTES


async def _read_all(call: Call) -> None:
    async for _ in call:
        pass
