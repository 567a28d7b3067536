import gzip
import zlib

import pytest
from starlette.requests import ClientDisconnect, Request

from mlserver_streaming.errors import BadRequestError, TooLargeError
from mlserver_streaming.rest.body import read_body


def request(*chunks, **headers):
    """A request whose body comes in chunks; `taken` counts those that were asked for."""
    waiting = list(chunks)

    async def receive():
        if not waiting:
            return {"type": "http.disconnect"}
        chunk = waiting.pop(0)
        return {"type": "http.request", "body": chunk, "more_body": bool(waiting)}

    named = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    found = Request({"type": "http", "headers": named}, receive)
    found.state.waiting = waiting
    return found


async def test_a_body_in_pieces():
    assert await read_body(request(b"ab", b"", b"c")) == b"abc"
    assert await read_body(request(b"")) == b""


async def test_a_declared_length_is_refused_before_anything_is_read():
    asked = request(b"abc", content_length="11")
    with pytest.raises(TooLargeError, match="larger than 10 bytes"):
        await read_body(asked, limit=10)
    assert len(asked.state.waiting) == 1


async def test_a_declared_length_of_many_zeros_and_digits():
    asked = request(b"abc", content_length="0" * 5000 + "3")
    assert await read_body(asked, limit=10) == b"abc"
    for length in ("0" * 5000 + "11", "1" * 5000):
        with pytest.raises(TooLargeError):
            await read_body(request(b"abc", content_length=length), limit=10)


async def test_an_undeclared_length_is_refused_as_soon_as_it_is_too_long():
    asked = request(*[b"12345"] * 100)
    with pytest.raises(TooLargeError):
        await read_body(asked, limit=10)
    assert len(asked.state.waiting) == 97


async def test_gzip_is_undone():
    body = gzip.compress(b"hello")
    assert await read_body(request(body[:5], body[5:], content_encoding=" GZip ")) == b"hello"


async def test_deflate_is_undone():
    assert await read_body(request(zlib.compress(b"hello"), content_encoding="deflate")) == b"hello"


async def test_gzip_that_unpacks_to_too_much_is_not_unpacked():
    bomb = gzip.compress(bytes(1_000_000))
    with pytest.raises(TooLargeError):
        await read_body(request(bomb, content_encoding="gzip"), limit=10_000)


@pytest.mark.parametrize("body", [b"not gzip", gzip.compress(b"hello", mtime=0)[:-3], b""])
async def test_gzip_that_is_broken(body):
    with pytest.raises(BadRequestError, match="gzip") as caught:
        await read_body(request(body, content_encoding="gzip"))
    assert caught.value.status_code == 400


async def test_another_encoding():
    with pytest.raises(BadRequestError, match="'br' is not supported") as caught:
        await read_body(request(b"a", content_encoding="br"))
    assert caught.value.status_code == 415


async def test_a_client_that_goes_while_it_sends():
    async def receive():
        return {"type": "http.disconnect"}

    with pytest.raises(ClientDisconnect):
        await read_body(Request({"type": "http", "headers": []}, receive))
