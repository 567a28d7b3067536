"""HTTP message by message, as RFC 9112 and RFC 9110 have it: what comes of each.

Behind every message a last one is sent; it is answered where the connection went on.
"""

import asyncio

import pytest

from mlserver_streaming.rest.cycles import ANSWER
from tests.rest.serving import PATIENCE, Received, connected, rest, serving

HOST = b"Host: a\r\n"
LAST = b"GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
WENT_ON = (200, "GET /last ")
CHUNKS = b"3\r\nabc\r\n0\r\n\r\n"


async def echo(scope, receive, send):
    """Says what it was asked."""
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body, more = body + message["body"], message["more_body"]
    said = b"%b %b %b" % (scope["method"].encode(), scope["path"].encode(), body)
    await answer(send, said)


async def answer(send, body):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


async def said_to(port, message):
    async with connected(port) as (reader, writer):
        writer.write(message)
        return await rest(reader)


def get(*lines, target=b"/", version=b"HTTP/1.1", method=b"GET"):
    lines = (b"%b %b %b" % (method, target, version), HOST.strip(), *lines, b"", b"")
    return b"\r\n".join(lines)


def post(body, *lines, version=b"HTTP/1.1"):
    return get(*lines, version=version, method=b"POST") + body


LENGTH = b"Content-Length: 3"
CHUNKED = b"Transfer-Encoding: chunked"
ABC = [(200, "POST / abc"), WENT_ON]
EMPTY = [(200, "GET / "), WENT_ON]

ANSWERED = {
    # RFC 9110, 7.8: an upgrade that is not taken is ignored.
    "h2c": (
        post(b"abc", b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", LENGTH),
        ABC,
    ),
    "h2c, chunked": (post(CHUNKS, b"Connection: upgrade", b"Upgrade: h2c", CHUNKED), ABC),
    "websocket": (post(b"abc", b"Connection: Upgrade", b"Upgrade: websocket", LENGTH), ABC),
    "TLS/1.0": (post(b"abc", LENGTH, b"Upgrade: TLS/1.0, x/2", b"Connection: upgrade"), ABC),
    "two upgrades": (
        post(b"abc", b"Connection: Upgrade", b"Upgrade: x", b"upgrade: y", LENGTH),
        ABC,
    ),
    "an upgrade without a body": (get(b"Connection: Upgrade", b"Upgrade: websocket"), EMPTY),
    "upgrades, pipelined": (
        post(b"abc", b"Connection: Upgrade", b"Upgrade: h2c", LENGTH) * 3,
        [ABC[0]] * 3 + [WENT_ON],
    ),
    "an upgrade and a close": (
        post(b"abc", b"Connection: Upgrade, close", b"Upgrade: h2c", LENGTH),
        ABC[:1],
    ),
    "an upgrade of HTTP/1.0": (
        post(b"abc", b"Connection: Upgrade", b"Upgrade: h2c", LENGTH, version=b"HTTP/1.0"),
        ABC[:1],
    ),
    # RFC 9110, 2.5 and RFC 9112, 9.3: versions, and who keeps the connection.
    "HTTP/1.0": (get(version=b"HTTP/1.0"), EMPTY[:1]),
    "HTTP/1.0 with keep-alive": (get(b"Connection: keep-alive", version=b"HTTP/1.0"), EMPTY[:1]),
    "HTTP/1.0 with a body": (post(b"abc", LENGTH, version=b"HTTP/1.0"), ABC[:1]),
    "HTTP/1.2": (get(version=b"HTTP/1.2"), EMPTY),
    "HTTP/1.9, chunked": (post(CHUNKS, CHUNKED, version=b"HTTP/1.9"), ABC),
    "close among others": (get(b"Connection: te, Close"), EMPTY[:1]),
    "close beside keep-alive": (
        get(b"Connection: keep-alive", b"Connection: close"),
        EMPTY[:1],
    ),
    "keep-alive": (get(b"Connection: keep-alive", b"Keep-Alive: timeout=5"), EMPTY),
    "an unknown connection option": (get(b"Connection: x, y"), EMPTY),
    # RFC 9110, 10.1.1.
    "an expectation": (post(b"abc", b"Expect: 100-Continue", LENGTH), ABC),
    "an expectation of HTTP/1.0": (
        post(b"abc", b"Expect: 100-continue", LENGTH, version=b"HTTP/1.0"),
        ABC[:1],
    ),
    # RFC 9112, 6 and 7: bodies.
    "chunked": (post(CHUNKS, b"Transfer-Encoding: Chunked"), ABC),
    "leading zeros": (post(b"003\r\nabc\r\n00\r\n\r\n", CHUNKED), ABC),
    "chunk extensions": (post(b'3;a=b;c="d;e"\r\nabc\r\n0;z\r\n\r\n', CHUNKED), ABC),
    "trailers": (
        post(b"3\r\nabc\r\n0\r\nx: y\r\nHost: b\r\n\r\n", CHUNKED, b"Trailer: x"),
        ABC,
    ),
    "no body": (post(b""), [(200, "POST / "), WENT_ON]),
    "a GET with a body": (get(LENGTH) + b"abc", [(200, "GET / abc"), WENT_ON]),
    "pipelined": (get() * 3 + post(b"abc", LENGTH), [EMPTY[0]] * 3 + ABC),
    "empty lines before": (b"\r\n\r\n" + get(), EMPTY),
    # RFC 9112, 3.2: targets.
    "a URL": (get(target=b"http://b/x?y"), [(200, "GET /x "), WENT_ON]),
    "a URL of https": (get(target=b"https://b:1/x"), [(200, "GET /x "), WENT_ON]),
    "a URL without a path": (get(target=b"http://b"), EMPTY),
    "a URL with a query alone": (get(target=b"http://b?x"), EMPTY),
    "the service as a whole": (get(target=b"*", method=b"OPTIONS"), [(204, ""), WENT_ON]),
}


@pytest.mark.parametrize("name", ANSWERED)
async def test_a_message_is_answered(monkeypatch, name):
    message, expected = ANSWERED[name]
    async with serving(monkeypatch, app=echo) as port:
        assert Received(await said_to(port, message + LAST)).answers() == expected


@pytest.mark.parametrize("name", ["h2c", "h2c, chunked", "trailers", "pipelined", "an expectation"])
async def test_a_message_that_comes_byte_by_byte(monkeypatch, name):
    message, expected = ANSWERED[name]
    async with serving(monkeypatch, app=echo) as port, connected(port) as (reader, writer):
        for at in range(len(message)):
            writer.write(message[at : at + 1])
            await asyncio.sleep(0)
        writer.write(LAST)
        assert Received(await rest(reader)).answers() == expected


REFUSED = {
    "0.9": (b"GET /\r\n\r\n", 505, "HTTP/0.9 is not spoken here"),
    "HTTP/0.9": (get(version=b"HTTP/0.9"), 505, "HTTP/0.9 is not spoken here"),
    "HTTP/2.0": (get(version=b"HTTP/2.0"), 505, "HTTP/2.0 is not spoken here"),
    "HTTP/3.0": (get(version=b"HTTP/3.0"), 505, "HTTP/3.0 is not spoken here"),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, "HTTP/2 is not spoken here"),
    "HTTP/1.10": (get(version=b"HTTP/1.10"), 400, "RFC 9112"),
    "http/1.1": (get(version=b"http/1.1"), 400, "RFC 9112"),
    "an expectation": (post(b"abc", b"Expect: x", LENGTH), 417, "100-continue"),
    "expectations": (post(b"abc", b"Expect: 100-continue, x", LENGTH), 417, "100-continue"),
    "length and chunks": (post(CHUNKS, LENGTH, CHUNKED), 400, "Content-Length"),
    "chunks and length": (post(CHUNKS, CHUNKED, LENGTH), 400, "Content-Length"),
    "both, and an upgrade": (
        post(CHUNKS, LENGTH, b"Connection: Upgrade", b"Upgrade: h2c", CHUNKED),
        400,
        "Content-Length",
    ),
    "lengths": (post(b"abc", LENGTH, LENGTH), 400, "Content-Length"),
    "two lengths": (post(b"abc", LENGTH, b"Content-Length: 4"), 400, "Content-Length"),
    "a list of lengths": (post(b"abc", b"Content-Length: 3, 3"), 400, "Content-Length"),
    "+3": (post(b"abc", b"Content-Length: +3"), 400, "Content-Length"),
    "an empty length": (post(b"abc", b"Content-Length:"), 400, "Content-Length"),
    "a length of 30 digits": (
        post(b"abc", b"Content-Length: 3" + b"0" * 30),
        400,
        "Content-Length",
    ),
    "gzip, chunked": (post(CHUNKS, b"Transfer-Encoding: gzip, chunked"), 501, "'chunked'"),
    "gzip and chunked": (post(CHUNKS, b"Transfer-Encoding: gzip", CHUNKED), 501, "'chunked'"),
    "chunked, gzip": (post(CHUNKS, b"Transfer-Encoding: chunked, gzip"), 400, "Transfer-Encoding"),
    "chunked twice": (post(CHUNKS, CHUNKED, CHUNKED), 400, "Transfer-Encoding"),
    "identity": (post(b"abc", b"Transfer-Encoding: identity"), 400, "Transfer-Encoding"),
    "xchunked": (post(CHUNKS, b"Transfer-Encoding: xchunked"), 400, "Transfer-Encoding"),
    "chunks of HTTP/1.0": (post(CHUNKS, CHUNKED, version=b"HTTP/1.0"), 400, "HTTP/1.0"),
    "a longer chunk": (post(b"3\r\nabcd\r\n0\r\n\r\n", CHUNKED), 400, "chunk"),
    "chunks with bare LF": (post(b"3\nabc\n0\n\n", CHUNKED), 400, "chunk size"),
    "a chunk of no size": (post(b"x\r\nabc\r\n", CHUNKED), 400, "chunk size"),
    "bare LF": (get().replace(b"\r", b""), 400, "CRLF"),
    "bare CR": (get(b"a: b\rc"), 400, "RFC 9112"),
    "NUL": (get(b"a: b\0c"), 400, "header value"),
    "a folded field": (get(b"a: b", b" c"), 400, "header value"),
    "a folded first field": (get().replace(b"\r\nHost", b"\r\n Host"), 400, "start line"),
    "a blank before the colon": (post(b"abc", b"Content-Length : 3"), 400, "header"),
    "no name": (get(b": b"), 400, "header"),
    "no colon": (get(b"abc"), 400, "header"),
    "a blank in the target": (get(target=b"/a b"), 400, "RFC 9112"),
    "a target that is no URL": (get(target=b"http://["), 400, "target"),
    "an authority": (get(target=b"a:80", method=b"CONNECT"), 400, "CONNECT"),
    "a method nobody knows": (get(method=b"FOO"), 400, "method"),
    "a method in small letters": (get(method=b"get"), 400, "method"),
    "TLS": (bytes.fromhex("16030100f8010000f40303"), 400, "method"),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_a_message_is_refused_and_the_connection_closed(monkeypatch, name):
    message, status, said = REFUSED[name]
    async with serving(monkeypatch, app=echo) as port:
        ((found, body),) = Received(await said_to(port, message + LAST)).answers()
        assert found == status
        assert body.startswith('{"error":"')
        assert said in body


async def test_head_gets_what_get_would_without_its_body(monkeypatch):
    async def app(scope, receive, send):
        assert scope["method"] == "GET"
        length = [(b"content-length", b"5")]
        await send({"type": "http.response.start", "status": 200, "headers": length})
        await send({"type": "http.response.body", "body": b"hello"})

    async with serving(monkeypatch, app=app) as port:
        both = get(method=b"HEAD") + get(b"Connection: close", method=b"HEAD")
        said = await said_to(port, both)
        assert Received(said).answers("HEAD") == [(200, "")] * 2
        assert said.count(b"content-length: 5\r\n") == 2


async def test_http_1_0_gets_no_chunks(monkeypatch):
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for body, more in ((b"a", True), (b"", True), (b"bc", True), (b"", False)):
            await send({"type": "http.response.body", "body": body, "more_body": more})

    async with serving(monkeypatch, app=app) as port:
        said = await said_to(port, get(version=b"HTTP/1.0"))
        assert b"transfer-encoding" not in said
        assert said.endswith(b"\r\n\r\nabc")
        assert Received(await said_to(port, get() + LAST)).answers() == [(200, "abc")] * 2


async def test_no_interim_answer_where_none_is_due(monkeypatch):
    async with serving(monkeypatch, app=echo) as port:
        for message, due in (("an expectation", 1), ("an expectation of HTTP/1.0", 0)):
            said = await said_to(port, ANSWERED[message][0] + LAST)
            assert said.count(b" 100 Continue") == due


@pytest.mark.parametrize("lines", [[], [b"Connection: close"]])
@pytest.mark.parametrize("version", [b"HTTP/1.0", b"HTTP/1.1"])
async def test_an_answer_before_the_body_arrives_whole(monkeypatch, version, lines):
    """Who sends all before it reads must find the answer: no reset may overtake it."""

    async def app(scope, receive, send):
        await answer(send, b"too large")

    size = 8_000_000
    async with serving(monkeypatch, app=app) as port, connected(port) as (reader, writer):
        length = b"Content-Length: %d" % size
        writer.write(get(length, *lines, method=b"POST", version=version))
        await asyncio.sleep(0)
        for _ in range(size // 100_000):
            writer.write(bytes(100_000))
            await writer.drain()
        head = await asyncio.wait_for(reader.readuntil(b"too large"), PATIENCE)
        assert head.startswith(b"HTTP/1.1 200")


async def test_junk_behind_a_request_does_not_cost_its_answer(monkeypatch):
    asked = asyncio.Event()

    async def app(scope, receive, send):
        await asked.wait()
        await echo(scope, receive, send)

    async with serving(monkeypatch, app=app) as port, connected(port) as (reader, writer):
        writer.write(post(b"abc", LENGTH) + b"\0junk" + LAST)
        await asyncio.sleep(0)
        asked.set()
        assert Received(await rest(reader)).answers() == ABC[:1]


async def test_trailers_are_no_headers(monkeypatch):
    async def app(scope, receive, send):
        await answer(send, b",".join(name for name, _ in scope["headers"]))

    message = ANSWERED["trailers"][0]
    async with serving(monkeypatch, app=app) as port:
        said = Received(await said_to(port, message + LAST)).answers()
        assert said == [(200, "host,transfer-encoding,trailer"), (200, "host,connection")]


async def test_a_body_that_is_not_wanted_may_never_come(monkeypatch):
    async def app(scope, receive, send):
        await answer(send, b"no")

    async with (
        serving(monkeypatch, app=app, LINGER_SECONDS=PATIENCE) as port,
        connected(port) as (reader, writer),
    ):
        writer.write(post(b"", b"Expect: 100-continue", LENGTH))
        # What comes now could be that body, or the next request: it is neither.
        said = await rest(reader)
        assert b"\r\nconnection: close\r\n" in said
        assert Received(said).answers() == [(200, "no")]


async def test_who_is_refused_is_not_told_to_go_on(monkeypatch, caplog):
    found = []

    async def late(scope, receive, send):
        cycle = scope["extensions"][ANSWER]["cycle"]
        async with asyncio.timeout(PATIENCE):
            while not cycle.disconnected:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        found.append(await receive())

    async with (
        serving(monkeypatch, app=late) as port,
        connected(port) as (reader, writer),
    ):
        writer.write(post(b"zz\r\n", b"Expect: 100-continue", b"Transfer-Encoding: chunked"))
        [(status, _)] = Received(await rest(reader)).answers()
    assert (status, found) == (400, [{"type": "http.disconnect"}])
    assert "write_eof" not in caplog.text
