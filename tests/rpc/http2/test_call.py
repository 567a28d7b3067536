"""What a call lets its client send ahead."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from mlserver_streaming.rpc.http2 import running
from mlserver_streaming.rpc.http2.call import MOST_AHEAD_BYTES, Call
from mlserver_streaming.rpc.http2.messages import framed
from mlserver_streaming.rpc.http2.metadata import Asked
from mlserver_streaming.rpc.http2.running import Bounds, Running
from mlserver_streaming.rpc.http2.wire import FAR_WINDOW_BYTES, WINDOW_BYTES
from mlserver_streaming.settings import LimitSettings
from mlserver_streaming.settings.limits import UNREAD_BYTES
from mlserver_streaming.streams import room as of_rooms
from mlserver_streaming.streams.room import FREE_BYTES, RequestRoom

MESSAGE = b"".join(framed([bytes(32 * 1024)]))
# A line that is so far that whatever comes comes in time, and one that is not.
FAR, NEAR = 3600.0, 0.0

BOUNDS = Bounds(2**20, 10, 30, 20)


def room(unread_bytes: int = UNREAD_BYTES) -> RequestRoom:
    return RequestRoom(LimitSettings(request_bytes=1024, unread_bytes=unread_bytes))


class Line:
    """A connection that counts what a call's client may send."""

    def __init__(self, delay: float = FAR, running: Running | None = None) -> None:
        self.loop = asyncio.get_running_loop()
        self.peer = ""
        self.running = running or Running(BOUNDS, room())
        self.delay = delay
        self.window = self.ahead = WINDOW_BYTES

    def lacks(self) -> None: ...

    def has_ready(self, call: Call) -> None: ...

    def give_up(self, call: Call) -> None: ...

    def grant(self, call: Call, size: int) -> None:
        self.ahead += size

    def fill(self, call: Call) -> None:
        """The client sends all that it may."""
        while self.ahead >= len(MESSAGE):
            self.ahead -= len(MESSAGE)
            call.put(MESSAGE, len(MESSAGE))


async def waiting(line: Line) -> tuple[Call, list[int]]:
    """A call whose reader waits for all that its client may send, and how much that was."""
    call = Call(line, 1, Asked("/s/m", (), None, "identity"), 2**20)
    reading, seen = asyncio.create_task(_read_all(call)), []
    for _ in range(60):
        line.fill(call)
        for _ in range(3):  # it is woken, and reads all
            await asyncio.sleep(0)
        assert call._inbox.is_empty
        seen.append(call._ahead)
        assert call._ahead * 3 // 4 <= line.ahead <= call._ahead
    reading.cancel()
    return call, sorted(set(seen))


@pytest.mark.parametrize(("delay", "most"), [(FAR, MOST_AHEAD_BYTES), (NEAR, FAR_WINDOW_BYTES)])
async def test_a_reader_that_waits_lets_more_come(delay: float, most: int) -> None:
    _, seen = await waiting(Line(delay))
    assert seen == [n for n in (WINDOW_BYTES << k for k in range(8)) if n <= most]


async def test_what_all_calls_let_come_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "AHEAD_BYTES", 4 * FAR_WINDOW_BYTES)
    one = Running(BOUNDS, room())
    calls = [await waiting(Line(FAR, one)) for _ in range(10)]
    most = [seen[-1] for _, seen in calls]
    assert sum(most) <= (4 + len(calls)) * FAR_WINDOW_BYTES
    assert (
        most[0] > most[-1] == FAR_WINDOW_BYTES
    )  # who comes late has no less than the first of all
    for call, _ in calls:
        call.gone()
    assert one.room.unread.lend(UNREAD_BYTES)  # all of it is back
    one.room.unread.take_back(UNREAD_BYTES)
    assert (await waiting(Line(FAR, one)))[1][-1] == most[0]


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


async def test_wider_windows_are_for_as_many_as_there_is_room_for() -> None:
    more = FAR_WINDOW_BYTES - WINDOW_BYTES
    line = Line(running=Running(BOUNDS, room(4 * more)))
    line.window = FAR_WINDOW_BYTES
    calls = [Call(line, 1, Asked("/s/m", (), None, "identity"), 2**20) for _ in range(5)]
    assert [call.widen() for call in calls] == [True, True, True, False, False]
    # Where there is none, what is small goes on.
    calls[3].put(bytes(FREE_BYTES), FREE_BYTES)
    assert not calls[3].is_over
    calls[3].put(b"x", 1)
    assert calls[3].is_over
    assert calls[3].code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    calls[0].gone()
    assert calls[4].widen()


async def test_messages_that_are_not_whole_wait_for_room(monkeypatch: pytest.MonkeyPatch) -> None:
    size = 2**20
    line = Line(running=Running(BOUNDS, room(size)))
    head, rest = b"\0" + size.to_bytes(4), bytes(size)
    calls = [Call(line, 1, Asked("/s/m", (), None, "identity"), size) for _ in range(3)]
    reading = []
    for call in calls:
        call.put(head, len(head))
        reading.append(asyncio.create_task(anext(call)))
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    # Its client may send all of it; the others', what any may.
    assert line.ahead == WINDOW_BYTES + (size - WINDOW_BYTES) + len(head)
    calls[0].put(rest, size)
    assert len(await reading[0]) == size
    # What is given up gives its room back too.
    for _ in range(3):
        await asyncio.sleep(0)
    calls[1].gone()
    calls[2].put(rest[:100], 100)
    calls[2].put(rest[100:], size - 100)
    assert len(await reading[2]) == size
    reading[1].cancel()
    monkeypatch.setattr(of_rooms, "ROOM_SECONDS", 0.0)
    assert line.running.room.unread.lend(size)
    late = Call(line, 1, Asked("/s/m", (), None, "identity"), size)
    late.put(head, len(head))
    with pytest.raises(grpc.aio.AbortError):
        await anext(late)
    assert late.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_calls_that_go_together_leave_nothing_lent_to_whoever_still_reads() -> None:
    size = 2**20
    line = Line(running=Running(BOUNDS, room(size)))
    calls = [Call(line, 1, Asked("/s/m", (), None, "identity"), size) for _ in range(2)]
    reading = []
    for call in calls:
        call.put(b"\0" + size.to_bytes(4), 5)
        # Not the call's own task, which is cancelled with it.
        reading.append(asyncio.create_task(anext(call)))
        await asyncio.sleep(0)
    for call in calls:
        call.gone()
    for _ in range(5):
        await asyncio.sleep(0)
    assert line.running.room.unread.lend(size)
    for each in reading:
        each.cancel()


async def test_a_call_that_is_gone_looks_no_further_ahead() -> None:
    line = Line(running=Running(BOUNDS, room(2**20)))
    call = Call(line, 1, Asked("/s/m", (), None, "identity"), 2**20)
    reading = asyncio.create_task(_read_all(call))
    await asyncio.sleep(0)
    line.fill(call)
    call.gone()
    for _ in range(5):
        await asyncio.sleep(0)
    assert line.running.room.unread.lend(2**20)
    reading.cancel()


async def test_what_a_refused_call_says_takes_no_room() -> None:
    size = 2**20
    line = Line(running=Running(BOUNDS, room(size)))
    call = Call(line, 1, Asked("/s/m", (), None, "identity"), size)
    assert line.running.room.unread.lend(size)
    call.put(b"\0" + size.to_bytes(4), 5)

    async def said() -> int:
        return len([piece async for piece in call.thrown_away])

    hearing, sent = asyncio.create_task(said()), 0
    while sent < size:
        await asyncio.sleep(0)
        assert call._inbox.held == 0 and line.ahead >= 1024
        line.ahead -= 1024
        call.put(bytes(1024), 1024)
        sent += 1024
        await asyncio.sleep(0)
    call.end_requests()
    assert await hearing == 1 + size // 1024
