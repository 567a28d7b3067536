import asyncio
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


HELLO = gzip.compress(b"hello", mtime=0)
EMPTY = gzip.compress(b"", mtime=0)


@pytest.mark.parametrize("coding", ["gzip", "x-gzip", "X-GZIP", "identity, gzip", "gzip,", " "])
@pytest.mark.parametrize("cut", [5, len(HELLO), len(HELLO) + 1])
async def test_all_members_of_gzip_are_read(coding, cut):
    body = HELLO + EMPTY + gzip.compress(b" world" * 10_000)
    whole = b"hello" + b" world" * 10_000 if coding.strip() else body
    assert await read_body(request(body[:cut], body[cut:], content_encoding=coding)) == whole


async def test_codings_of_several_lines_are_one_list():
    headers = [(b"content-encoding", b"identity"), (b"content-encoding", b"gzip")]
    asked = request(HELLO)
    asked = Request({"type": "http", "headers": headers}, asked.receive)
    assert await read_body(asked) == b"hello"


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("gzip", HELLO + b"junk"),
        ("gzip", HELLO + b"\0"),
        ("gzip", HELLO + b"\x1e"),
        ("x-gzip", HELLO * 3 + b"\x1fx"),
        ("deflate", zlib.compress(b"hello") + b"junk"),
        ("deflate", zlib.compress(b"hello") * 2),
    ],
)
async def test_nothing_may_come_after_the_end(coding, body):
    with pytest.raises(BadRequestError, match=r"goes on after the end of its (gzip|deflate)\.$"):
        await read_body(request(body, content_encoding=coding))


@pytest.mark.parametrize("rest", [b"\x1f", b"\x1f\x8b", HELLO[:-1]])
async def test_a_later_member_that_is_cut_off(rest):
    with pytest.raises(BadRequestError, match="gzip is cut off"):
        await read_body(request(HELLO + rest, content_encoding="gzip"))


async def test_a_later_member_that_is_broken():
    with pytest.raises(BadRequestError, match="not valid gzip"):
        await read_body(request(HELLO + HELLO[:-6] + bytes(6), content_encoding="gzip"))


async def test_the_bound_holds_over_all_members():
    with pytest.raises(TooLargeError, match="larger than 10000 bytes"):
        await read_body(request(gzip.compress(bytes(3000)) * 4, content_encoding="gzip"), 10_000)
    whole = await read_body(request(gzip.compress(bytes(3000)) * 3, content_encoding="gzip"), 9000)
    assert whole == bytes(9000)


async def test_members_without_number_let_others_have_turns():
    reading = asyncio.create_task(read_body(request(EMPTY * 50_000, content_encoding="gzip")))
    turns = 0
    while not reading.done():
        turns += 1
        await asyncio.sleep(0)
    assert await reading == b""
    # 0.1 s and more of work, 2 ms at a time.
    assert turns > 10


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


@pytest.mark.parametrize("coding", ["br", "gzip, gzip", "deflate,gzip", "gzip;q=1"])
async def test_another_encoding(coding):
    said = f"'{coding.replace(',', ', ').replace('  ', ' ')}' is not supported"
    with pytest.raises(BadRequestError, match=said) as caught:
        await read_body(request(b"a", content_encoding=coding))
    assert caught.value.status_code == 415


async def test_a_client_that_goes_while_it_sends():
    async def receive():
        return {"type": "http.disconnect"}

    with pytest.raises(ClientDisconnect):
        await read_body(Request({"type": "http", "headers": []}, receive))
