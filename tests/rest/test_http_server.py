"""uvicorn's protocol, bounded: tiny limits, real sockets, an app that says what it was asked."""

import asyncio
import gc
import socket
from contextlib import AsyncExitStack

import pytest

from mlserver_streaming.rest import http_server
from mlserver_streaming.rest.cycles import Cycle
from mlserver_streaming.rest.http_protocol import HttpProtocol
from mlserver_streaming.rest.http_server import PROBE_SECONDS, SPARE_SECONDS, HttpServer
from tests.rest.serving import PATIENCE, asked, connected, rest, serving


async def test_nothing_at_all(monkeypatch):
    async with (
        serving(monkeypatch, HEADER_SECONDS=0.05) as port,
        connected(port) as (reader, _),
    ):
        assert await rest(reader) == b""


@pytest.mark.parametrize("before", [b"", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"])
async def test_headers_that_come_drop_by_drop(monkeypatch, before):
    async with (
        serving(monkeypatch, HEADER_SECONDS=0.3) as port,
        connected(port) as (reader, writer),
    ):
        if before:
            assert b"200 OK" in await asked(reader, writer, before)
        writer.write(b"GET / HTTP/1.1\r\n")
        reading = asyncio.create_task(rest(reader))
        async with asyncio.timeout(PATIENCE):
            while not reading.done():
                writer.write(b"a: b\r\n")
                await asyncio.sleep(0.01)  # the fault itself
        assert await reading == b""


CHUNKED = b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize("start", [b"GET /", b"GET / HTTP/1.1\r\nHost: ", b"GET / HTTP/1.1\r\n"])
@pytest.mark.parametrize("before", [b"", CHUNKED + b"0\r\n\r\n"])
async def test_headers_without_end(monkeypatch, before, start):
    async with serving(monkeypatch, HEADER_BYTES=2000) as port, connected(port) as (reader, writer):
        if before:
            assert b"200 OK" in await asked(reader, writer, before)
        await flood(writer, start, b"a: b\r\n" if start.endswith(b"\n") else b"aaaaaa")
        assert await rest(reader) == b""


async def test_a_trailer_without_end(monkeypatch):
    async with serving(monkeypatch, HEADER_BYTES=2000) as port, connected(port) as (reader, writer):
        assert b"200 OK" in await asked(reader, writer, CHUNKED + b"0\r\nTrailer: ")
        await flood(writer, b"", b"aaaaaa")
        assert await rest(reader) == b""


async def flood(writer, start, more):
    writer.write(start)
    for _ in range(1000):
        if writer.transport.is_closing():
            return
        writer.write(more)
        await asyncio.sleep(0)


async def test_a_body_has_its_time(monkeypatch):
    async with (
        serving(monkeypatch, idle_seconds=0.05, SPARE_SECONDS=0.05) as port,
        connected(port) as (reader, writer),
    ):
        writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf")
        assert await rest(reader) == b""


async def test_a_body_that_nobody_wants_is_read_for_a_while(monkeypatch):
    async with (
        serving(monkeypatch, LINGER_SECONDS=0.3) as port,
        connected(port) as (reader, writer),
    ):
        head = b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n"
        # It comes whole, if late: the connection is good for more.
        assert b"200 OK" in await asked(reader, writer, head)
        assert b"200 OK" in await asked(reader, writer, bytes(10) + head)
        writer.write(bytes(9))
        assert await rest(reader) == b""


async def test_requests_in_time_one_after_another(monkeypatch):
    async with (
        serving(monkeypatch, HEADER_SECONDS=0.2, LINGER_SECONDS=0.2) as port,
        connected(port) as (reader, writer),
    ):
        post = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody"
        for _ in range(3):
            assert b"\r\n4\r\n" in await asked(reader, writer, post)
            # Idle between requests is what uvicorn's keep-alive time is for.
            await asyncio.sleep(0.3)
        for byte in post[:-1]:
            writer.write(bytes([byte]))
        assert b"\r\n4\r\n" in await asked(reader, writer, post[-1:])


async def test_an_exit_waits_for_no_client_for_long(monkeypatch):
    async with serving(monkeypatch, CLOSE_SECONDS=0.2) as port, connected(port) as (_, writer):
        writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf")
        await writer.drain()


@pytest.mark.parametrize("before", [b"", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"])
async def test_an_exit_answers_what_is_on_its_way(monkeypatch, before):
    """A request that crosses with the end of its connection is answered, and told so."""
    stopped = asyncio.Event()

    class Stopped(http_server.HttpProtocol):
        def shutdown(self):
            super().shutdown()
            stopped.set()

    monkeypatch.setattr(http_server, "HttpProtocol", Stopped)
    async with AsyncExitStack() as until_here:
        port = await until_here.enter_async_context(serving(monkeypatch))
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        if before:
            assert b"200 OK" in await asked(reader, writer, before)
        leaving = asyncio.create_task(until_here.pop_all().aclose())
        await asyncio.wait_for(stopped.wait(), PATIENCE)
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        said = await rest(reader)
        await leaving
        writer.close()
    assert b"200 OK" in said and b"connection: close" in said


async def test_an_exit_answers_who_has_connected_and_was_not_taken_yet(monkeypatch):
    """The kernel connects; a busy loop may not have seen it when it closes its listener."""
    take_last, waiting = HttpServer._take_last, []

    async def take_last_of_some(server):
        for _ in range(5):
            waiting.append(socket.create_connection(("127.0.0.1", port), PATIENCE))
            waiting[-1].sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        await take_last(server)

    monkeypatch.setattr(HttpServer, "_take_last", take_last_of_some)
    async with serving(monkeypatch) as port:
        pass
    for connection in waiting:
        with connection, connection.makefile("rb") as file:
            assert b"200 OK" in file.read()


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="Linux only")
async def test_a_peer_that_is_gone_without_a_word_is_noticed(monkeypatch):
    """Half-open: the kernel asks a silent peer whether it is there, and gives up one that does not
    take what is sent to it (tcp(7)). docs/reliability.md has what was seen on a network."""
    accepted = []

    class Seen(http_server.HttpProtocol):
        def connection_made(self, transport):
            accepted.append(transport.get_extra_info("socket"))
            super().connection_made(transport)

    async with (
        serving(monkeypatch, idle_seconds=7, HttpProtocol=Seen) as port,
        connected(port) as (reader, writer),
    ):
        await asked(reader, writer, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        (connection,) = accepted
        assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        tcp = [
            connection.getsockopt(socket.IPPROTO_TCP, option)
            for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_USER_TIMEOUT)
        ]
        assert tcp == [PROBE_SECONDS, PROBE_SECONDS, (7 + SPARE_SECONDS) * 1000]


async def test_an_answer_leaves_nothing_to_the_collector_of_cycles(monkeypatch):
    async with serving(monkeypatch) as port, connected(port) as (reader, writer):
        gc.collect()
        gc.disable()
        try:
            for _ in range(5):
                await asked(reader, writer, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert there_are(Cycle) == 1, "the connection knows its last"
        finally:
            gc.enable()


async def test_nor_does_a_connection(monkeypatch):
    gc.collect()
    gc.disable()
    try:
        async with serving(monkeypatch) as port:
            for _ in range(5):
                async with connected(port) as (reader, writer):
                    writer.write(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                    assert b"200 OK" in await rest(reader)
        assert not there_are(HttpProtocol)
    finally:
        gc.enable()


def there_are(kind):
    return len([each for each in gc.get_objects() if isinstance(each, kind)])
