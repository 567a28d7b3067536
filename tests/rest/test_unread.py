"""What requests that are not whole may have, over HTTP: others wait for room, and are refused."""

import asyncio
import gzip
import random
from contextlib import AsyncExitStack

import pytest
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse

from mlserver_streaming.errors import MLServerError
from mlserver_streaming.rest.body import read_body
from mlserver_streaming.rest.cycles import ANSWER
from mlserver_streaming.rest.request_stream.coming import Coming
from mlserver_streaming.rest.request_stream.lines import Lines
from mlserver_streaming.settings import LimitSettings
from mlserver_streaming.streams import room as of_rooms
from mlserver_streaming.streams.room import FREE_BYTES, Loan, RequestRoom
from tests.rest.serving import PATIENCE, Received, connected, rest, serving

SIZE = 1024 * 1024
LIMITS = LimitSettings(request_bytes=SIZE, unread_bytes=2 * SIZE)
LAST = b"Connection: close\r\n"


async def sizes(scope, receive, send):
    """The size of a body, or of each of its lines."""
    request = Request(scope, receive)
    try:
        if "x-lines" in request.headers:
            coming = Coming(request, Lines(SIZE), lambda: None)
            found = []
            async for asked in coming:
                found.append(len(asked.body))
                coming.is_read()
            coming.close()
        else:
            found = [len(await read_body(request, SIZE))]
        response = PlainTextResponse(str(found))
    except MLServerError as error:
        response = PlainTextResponse(str(error), error.status_code)
    except ClientDisconnect:
        return
    await response(scope, receive, send)


def head(size):
    return b"POST / HTTP/1.1\r\nHost: a\r\n%bContent-Length: %d\r\n\r\n" % (LAST, size)


def chunked(data, *fields):
    lines = b"".join(field + b"\r\n" for field in fields)
    begin = b"POST / HTTP/1.1\r\nHost: a\r\n%b%bTransfer-Encoding: chunked\r\n\r\n" % (LAST, lines)
    return b"%b%x\r\n%b\r\n" % (begin, len(data), data)


async def answer(reader):
    [found] = Received(await rest(reader)).answers()
    return found


class Counted(RequestRoom):
    """Tells when somebody has found room, and when somebody has found none at once."""

    def __init__(self):
        super().__init__(LIMITS)
        self.lent, self.lacked, lend = asyncio.Event(), asyncio.Event(), self.unread.lend

        def counted(size):
            found = lend(size)
            (self.lent if found else self.lacked).set()
            return found

        self.unread.lend = counted

    @property
    def is_whole(self):
        """Whether all of it is back."""
        return self.unread._left == 2 * SIZE and self.unpacked._left == 4 * SIZE


@pytest.fixture
async def clients(monkeypatch):
    """The room of a server, and connections to it."""
    room = Counted()
    async with serving(monkeypatch, app=sizes, room=room) as port, AsyncExitStack() as stack:

        async def connect():
            return await stack.enter_async_context(connected(port))

        yield room, connect


def too_late(monkeypatch):
    monkeypatch.setattr(of_rooms, "ROOM_SECONDS", 0.05)


async def test_bodies_that_are_not_whole_wait_for_room(clients):
    room, connect = clients
    (first, sending), (second, waiting), (third, small) = [await connect() for _ in range(3)]
    sending.write(head(SIZE) + b"x")
    await room.lent.wait()
    waiting.write(head(SIZE) + b"x")
    await room.lacked.wait()
    # Of a small one nobody counts.
    small.write(head(FREE_BYTES) + bytes(FREE_BYTES))
    assert await answer(third) == (200, f"[{FREE_BYTES}]")
    sending.write(bytes(SIZE - 1))
    assert await answer(first) == (200, f"[{SIZE}]")
    waiting.write(bytes(SIZE - 1))
    assert await answer(second) == (200, f"[{SIZE}]")
    assert room.is_whole


async def test_who_hangs_up_leaves_its_room_to_others(clients):
    room, connect = clients
    (_, sending), (second, waiting) = [await connect() for _ in range(2)]
    sending.write(head(SIZE) + b"x")
    await room.lent.wait()
    waiting.write(head(SIZE) + bytes(SIZE))
    await room.lacked.wait()
    sending.transport.abort()
    assert await answer(second) == (200, f"[{SIZE}]")
    assert room.is_whole


async def test_who_hangs_up_waits_no_longer(clients):
    room, connect = clients
    assert room.unread.lend(2 * SIZE)
    _, waiting = await connect()
    waiting.write(head(SIZE))
    await room.lacked.wait()
    waiting.transport.abort()
    async with asyncio.timeout(PATIENCE):
        while room.unread._waiting:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
    room.unread.take_back(2 * SIZE)
    assert room.is_whole


@pytest.mark.parametrize(
    "begin",
    [
        head(SIZE) + b"x",
        chunked(bytes(SIZE - 1)),
        chunked(b"x" * (SIZE - 1), b"X-Lines: 1"),
        chunked(b"x" * (SIZE - 1), b"X-Lines: 1", b"Content-Encoding: identity"),
        chunked(gzip.compress(b"x" * (SIZE - 1)), b"X-Lines: 1", b"Content-Encoding: gzip"),
        head(SIZE).replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n"),
    ],
    ids=["declared", "chunked", "lines", "identity", "packed lines", "expects"],
)
async def test_who_finds_none_is_told_so(clients, monkeypatch, begin):
    room, connect = clients
    assert room.unread.lend(SIZE + SIZE // 2)
    too_late(monkeypatch)
    reader, writer = await connect()
    writer.write(begin)
    status, said = await answer(reader)
    assert status == 429 and "try again" in said
    room.unread.take_back(SIZE + SIZE // 2)
    assert room.is_whole
    reader, writer = await connect()
    writer.write(head(SIZE) + bytes(SIZE))
    assert await answer(reader) == (200, f"[{SIZE}]")


async def test_a_packed_body_waits_until_there_is_room_for_what_it_holds(clients):
    room, connect = clients
    assert room.unpacked.lend(4 * SIZE)
    reader, writer = await connect()
    packed = gzip.compress(bytes(SIZE))
    writer.write(
        head(len(packed)).replace(b"\r\n\r\n", b"\r\nContent-Encoding: gzip\r\n\r\n") + packed
    )
    (small, writer) = await connect()
    writer.write(head(10) + bytes(10))
    assert await answer(small) == (200, "[10]")
    room.unpacked.take_back(4 * SIZE)
    assert await answer(reader) == (200, f"[{SIZE}]")
    assert room.is_whole


async def test_a_packed_body_that_waits_to_be_unpacked_is_not_read_either(clients):
    room, connect = clients
    assert room.unpacked.lend(4 * SIZE)
    reader, writer = await connect()
    packed = gzip.compress(random.Random(1).randbytes(SIZE - 1000))
    fields = b"\r\nContent-Encoding: gzip\r\n\r\n"
    writer.write(head(len(packed)).replace(b"\r\n\r\n", fields) + packed)
    await room.lent.wait()
    async with asyncio.timeout(PATIENCE):
        while not room.unpacked._waiting:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
    assert room.unread._left == 2 * SIZE - len(packed)
    room.unpacked.take_back(4 * SIZE)
    assert await answer(reader) == (200, f"[{SIZE - 1000}]")
    assert room.is_whole


async def test_a_packed_body_is_lent_its_room_until_it_is_read():
    """By whoever has a loan for it; for the others, until it is unpacked."""
    body, room = gzip.compress(bytes(1000)), RequestRoom(LIMITS)

    class Answering:
        has_body, disconnected, on_hang_up = True, False, None

        def take_body(self):
            return body

    answering = Answering()
    answering.room = room
    scope = {"type": "http", "headers": [(b"content-encoding", b"gzip")]}
    request = Request({**scope, "extensions": {ANSWER: {"cycle": answering}}})
    with Loan(room.unpacked) as loan:
        assert await read_body(request, SIZE, loan) == bytes(1000)
        assert loan.size == 1000
        assert await read_body(request, SIZE) == bytes(1000)
        assert room.unpacked._left == 4 * SIZE - 1000
    assert room.unpacked._left == 4 * SIZE


async def test_a_line_is_lent_its_room_until_it_is_read(clients):
    room, _ = clients
    line = b"x" * (SIZE - 1) + b"\n"
    messages = iter((line[: SIZE // 2], line[SIZE // 2 :], b""))

    async def receive():
        data = next(messages)
        return {"type": "http.request", "body": data, "more_body": bool(data)}

    scope = {"type": "http", "headers": []}
    coming = Coming(Request(scope, receive), Lines(SIZE), lambda: None)
    coming._loan = Loan(room.unread)
    assert len((await anext(coming)).body) == SIZE - 1
    assert room.unread._left < 2 * SIZE
    coming.is_read()
    assert room.is_whole
    assert await anext(coming, None) is None


async def test_lines_give_back_what_each_had(clients):
    room, connect = clients
    reader, writer = await connect()
    line = b"x" * (SIZE - 1) + b"\n"
    writer.write(chunked(line * 5, b"X-Lines: 1") + b"0\r\n\r\n")
    assert await answer(reader) == (200, str([SIZE - 1] * 5))
    assert room.is_whole
