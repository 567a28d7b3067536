"""Clients that close their sending side once they have asked: who reads on is served, who is gone
is noticed. (On asyncio's event loop; tests/live/test_half_closed.py has a service's, uvloop.)
"""

import asyncio

import pytest

from mlserver_streaming.rest.cycles import ANSWER
from tests.rest.serving import PATIENCE, Received, asked, connected, rest, serving
from tests.rest.test_http_messages import LAST, get, post

LIMITS = {"CHECK_SECONDS": 0.02, "ASK_SECONDS": 0.05}
LENGTH = b"Content-Length: 3"


class Slow:
    """An app whose answers end when they are told to, or with their client.

    Args:
        begins: whether it sends a first piece before.
    """

    def __init__(self, begins):
        self.begins = begins
        self.asked, self.go_on, self.gone = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def __call__(self, scope, receive, send):
        while (await receive())["more_body"]:
            pass
        start = {"type": "http.response.start", "status": 200, "headers": []}
        if self.begins:
            await send(start)
            await send({"type": "http.response.body", "body": b"first ", "more_body": True})
        self.asked.set()
        going_on = asyncio.create_task(self.go_on.wait())
        watching = asyncio.create_task(receive())
        await asyncio.wait({going_on, watching}, return_when="FIRST_COMPLETED")
        if watching.done():
            self.gone.set()
            return
        watching.cancel()
        if not self.begins:
            await send(start)
        await send({"type": "http.response.body", "body": b"last"})


async def some_checks():
    """Long enough for the service to have asked whether anybody is there."""
    await asyncio.sleep(5 * LIMITS["CHECK_SECONDS"])


@pytest.mark.parametrize("begins", [True, False])
@pytest.mark.parametrize("before", [0, 2])
async def test_who_reads_on_gets_the_answer(monkeypatch, begins, before):
    app = Slow(begins)
    whole = [(200, "first last" if begins else "last")]
    async with (
        serving(monkeypatch, app=app, **LIMITS) as port,
        connected(port) as (reader, writer),
    ):
        writer.write(get() * before + post(b"abc", LENGTH))
        writer.write_eof()
        await app.asked.wait()
        await some_checks()
        assert not app.gone.is_set()
        app.go_on.set()
        # The bytes that ask mean nothing to a client.
        assert Received(await rest(reader)).answers() == whole * (before + 1)


@pytest.mark.parametrize("begins", [True, False])
@pytest.mark.parametrize("before", [0, 2])
async def test_who_is_gone_is_noticed(monkeypatch, begins, before):
    app = Slow(begins)
    async with serving(monkeypatch, app=app, **LIMITS) as port, connected(port) as (_, writer):
        writer.write(get() * before + post(b"abc", LENGTH))
        await app.asked.wait()
        writer.close()
        await asyncio.wait_for(app.gone.wait(), PATIENCE)


async def test_who_reads_on_for_a_while_and_goes_is_noticed(monkeypatch):
    app = Slow(begins=False)
    async with serving(monkeypatch, app=app, **LIMITS) as port, connected(port) as (_, writer):
        writer.write(get())
        writer.write_eof()
        await app.asked.wait()
        await some_checks()
        assert not app.gone.is_set()
        writer.close()
        await asyncio.wait_for(app.gone.wait(), PATIENCE)


async def test_http_1_0_cannot_be_asked_and_counts_as_gone(monkeypatch):
    app = Slow(begins=True)
    async with (
        serving(monkeypatch, app=app, **LIMITS) as port,
        connected(port) as (_, writer),
    ):
        writer.write(get(version=b"HTTP/1.0"))
        await app.asked.wait()
        writer.write_eof()
        await asyncio.wait_for(app.gone.wait(), PATIENCE)


@pytest.mark.parametrize(
    "message",
    [post(b"ab", LENGTH), get()[:-2], b"GE", post(b"3\r\nab", b"Transfer-Encoding: chunked")],
)
@pytest.mark.parametrize("before", [b"", get()])
async def test_a_request_that_is_cut_off_is_told_so(monkeypatch, message, before):
    async with serving(monkeypatch, **LIMITS) as port, connected(port) as (reader, writer):
        if before:
            await asked(reader, writer, before)
        writer.write(message)
        writer.write_eof()
        ((status, said),) = Received(await rest(reader)).answers()
        assert (status, said[:35]) == (400, '{"error":"The request is cut off: i')


async def test_who_was_refused_amid_a_body_is_asked_nothing(monkeypatch):
    faults, taken = [], asyncio.Event()
    asyncio.get_running_loop().set_exception_handler(lambda _, fault: faults.append(fault))

    async def app(scope, receive, send):
        # Later than its body turned out to be none.
        scope["extensions"][ANSWER]["cycle"].take_in_pieces()
        taken.set()
        await receive()

    async with serving(monkeypatch, app=app, **LIMITS) as port, connected(port) as (reader, writer):
        writer.write(post(b"zz\r\n", b"Transfer-Encoding: chunked"))
        assert Received(await rest(reader)).answers()[0][0] == 400
        await asyncio.wait_for(taken.wait(), PATIENCE)
        writer.write_eof()
        await some_checks()
    assert not faults


async def test_a_cut_off_request_does_not_cost_the_one_before(monkeypatch):
    app = Slow(begins=True)
    async with (
        serving(monkeypatch, app=app, **LIMITS) as port,
        connected(port) as (reader, writer),
    ):
        writer.write(get() + LAST[:20])
        writer.write_eof()
        await app.asked.wait()
        app.go_on.set()
        assert Received(await rest(reader)).answers() == [(200, "first last")]


async def test_nothing_asked_nothing_answered(monkeypatch):
    async with serving(monkeypatch) as port, connected(port) as (reader, writer):
        await asked(reader, writer, get())
        writer.write_eof()
        assert await rest(reader) == b""
