"""A body that is read as it comes, by a server of ours: it may take its time, it may be cut off,
and answers leave meanwhile."""

import asyncio
import gzip

from starlette.requests import Request

from mlserver_streaming.errors import MLServerError
from mlserver_streaming.rest.request_stream.coming import Coming
from mlserver_streaming.rest.request_stream.lines import Lines
from tests.rest.serving import END, PATIENCE, Received, connected, rest, serving

HEAD = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n%b\r\n"
CUT_OFF = b"The request is cut off: its sender closed the connection amid it."


def chunk(data):
    return b"%x\r\n%b\r\n" % (len(data), data)


async def echo(scope, receive, send):
    """Each line comes back at once; a fault is the last of them."""

    async def write(data, more=True):
        await send({"type": "http.response.body", "body": data, "more_body": more})

    coming = Coming(Request(scope, receive), Lines(1000), lambda: None)
    first = await anext(coming)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await write(first.body + b"\n")
    try:
        async for asked in coming:
            await write(asked.body + b"\n")
        await write(b"", more=False)
    except MLServerError as error:
        await write(str(error).encode(), more=False)


async def line(reader):
    """The next that comes, without what HTTP puts around it."""
    return await asyncio.wait_for(reader.readuntil(b"\n\r\n"), PATIENCE)


async def begun(reader, writer, *fields):
    writer.write(HEAD % b"".join(field + b"\r\n" for field in fields) + chunk(b"one\n"))
    await asyncio.wait_for(reader.readuntil(b"one\n\r\n"), PATIENCE)


async def test_a_line_is_answered_before_the_next_is_sent(monkeypatch):
    async with (
        serving(monkeypatch, app=echo) as port,
        connected(port) as (reader, writer),
    ):
        await begun(reader, writer)
        for text in (b"two\n", b"three\n"):
            writer.write(chunk(text))
            assert text in await line(reader)
        writer.write(chunk(b"four") + b"0\r\n\r\n")
        assert b"four" in await asyncio.wait_for(reader.readuntil(END), PATIENCE)
        # The connection goes on.
        await begun(reader, writer)


async def test_such_a_body_may_take_longer_than_others(monkeypatch):
    async with (
        serving(monkeypatch, idle_seconds=0.1, SPARE_SECONDS=0, app=echo) as port,
        connected(port) as (reader, writer),
    ):
        await begun(reader, writer)
        await asyncio.sleep(0.3)  # three times what another body may take
        writer.write(chunk(b"two\n") + b"0\r\n\r\n")
        assert b"two" in await asyncio.wait_for(reader.readuntil(END), PATIENCE)


async def test_a_body_that_is_cut_off_is_told_of(monkeypatch):
    async with (
        serving(monkeypatch, app=echo) as port,
        connected(port) as (reader, writer),
    ):
        await begun(reader, writer)
        writer.write(chunk(b"two\nthr"))
        writer.write_eof()
        said = await rest(reader)
    assert b"two\n" in said and b"thr" not in said
    assert CUT_OFF in said and said.endswith(END)


async def test_chunks_that_cannot_be_read_are_told_of(monkeypatch):
    async with (
        serving(monkeypatch, app=echo, LINGER_SECONDS=0.2) as port,
        connected(port) as (reader, writer),
    ):
        await begun(reader, writer)
        writer.write(b"no chunk\r\n")
        said = await rest(reader)
    assert b"This is not HTTP/1.1" in said and said.endswith(END)


async def test_who_waits_for_100_continue_gets_it(monkeypatch):
    async with (
        serving(monkeypatch, app=echo) as port,
        connected(port) as (reader, writer),
    ):
        writer.write(HEAD % b"Expect: 100-continue\r\n")
        await asyncio.wait_for(reader.readuntil(b"HTTP/1.1 100 Continue\r\n"), PATIENCE)
        writer.write(chunk(b"one\n"))
        assert b"HTTP/1.1 200 OK" in await asyncio.wait_for(reader.readuntil(b"one\n"), PATIENCE)


async def test_http_1_0(monkeypatch):
    async with (
        serving(monkeypatch, app=echo) as port,
        connected(port) as (reader, writer),
    ):
        writer.write(b"POST / HTTP/1.0\r\nHost: a\r\nContent-Length: 8\r\n\r\none\n")
        await asyncio.wait_for(reader.readuntil(b"one\n"), PATIENCE)
        writer.write(b"two\n")
        assert await rest(reader) == b"two\n"


async def test_gzip_is_undone_as_it_comes(monkeypatch):
    async with (
        serving(monkeypatch, app=echo) as port,
        connected(port) as (reader, writer),
    ):
        body = gzip.compress(b"one\ntwo\n")
        sent = HEAD % b"Content-Encoding: gzip\r\n" + chunk(body[:-8])
        writer.write(sent)
        await asyncio.wait_for(reader.readuntil(b"two\n"), PATIENCE)
        writer.write_eof()
        assert CUT_OFF in await rest(reader)


async def test_the_rest_of_a_body_after_its_answer_is_thrown_away(monkeypatch):
    async def first(scope, receive, send):
        coming = Coming(Request(scope, receive), Lines(1000), lambda: None)
        body = (await anext(coming)).body
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})

    request = HEAD % b"" + chunk(b"one\n") + chunk(b"two\n") + b"0\r\n\r\n"
    async with (
        serving(monkeypatch, app=first) as port,
        connected(port) as (reader, writer),
    ):
        said = b""
        for _ in range(2):
            writer.write(request)
            said += await asyncio.wait_for(reader.readuntil(END), PATIENCE)
    assert Received(said).answers() == [(200, "one")] * 2


async def test_no_more_is_read_than_is_asked_for():
    sent = [b"one\ntwo\nth", b"ree\n", b"four"]
    read = []

    async def receive():
        read.append(sent[len(read)])
        return {"type": "http.request", "body": read[-1], "more_body": len(read) < len(sent)}

    coming = Coming(Request({"type": "http", "headers": []}, receive), Lines(9), lambda: None)
    found = [((await anext(coming)).body, len(read)) for _ in range(4)]
    assert found == [(b"one", 1), (b"two", 1), (b"three", 2), (b"four", 3)]
    assert await anext(coming, None) is None
