import asyncio
import json

import httpx
import pytest
from click.testing import CliRunner

from clients.credentials import Credentials
from clients.errors import (
    ErrorEventError,
    ItemError,
    NoResponseError,
    ProtocolError,
    RefusedError,
    StreamCutError,
    UnreachableError,
)
from clients.sse_client import SseClient, main, read_words


def event(word: str) -> bytes:
    outputs = [{"name": "output", "datatype": "BYTES", "shape": [1], "data": [word]}]
    return b"data: " + json.dumps({"outputs": outputs}, ensure_ascii=False).encode() + b"\n\n"


HEADERS = {"content-type": "text/event-stream; charset=utf-8"}
EVENTS = event("What") + b": keep-alive\n\n" + event(" ☃") + event("\n")


class Pieces(httpx.AsyncByteStream):
    """A body in pieces; an exception among them is raised, None is silence without an end."""

    def __init__(self, *pieces):
        self.pieces = pieces

    async def __aiter__(self):
        for piece in self.pieces:
            if piece is None:
                await asyncio.Event().wait()
            if isinstance(piece, Exception):
                raise piece
            yield piece


def client(answer, **options) -> SseClient:
    return SseClient(transport=httpx.MockTransport(answer), **options)


def streaming(*pieces):
    return lambda request: httpx.Response(200, headers=HEADERS, stream=Pieces(*pieces))


async def words(answer, **options) -> list[str]:
    return [word async for word in client(answer, **options).words("What ☃\n")]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
async def test_words_come_whole_however_the_bytes_are_cut(size):
    pieces = [EVENTS[at : at + size] for at in range(0, len(EVENTS), size)]
    assert await words(streaming(*pieces)) == ["What", " ☃", "\n"]


@pytest.mark.parametrize("size", [1, 3, 1000])
@pytest.mark.parametrize(
    "around",
    [
        # A comment after an event that had an id is no event, nor is a field alone.
        b"id: 1\n%b: keep-alive\n\n: keep-alive\n\nretry: 5\n\n%b",
        b"id: 1\n%bevent: message\n\n%b: keep-alive\n\n",
        # A byte order mark before the first event, or before a comment.
        b"\xef\xbb\xbf%b%b",
        b"\xef\xbb\xbf: hello\n\n%b%b",
        b"%b\r\n%b\r\n",
    ],
)
async def test_what_event_streams_may_have_beside_events(around, size):
    body = around % (event("one"), event("☃"))
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    assert await words(streaming(*pieces)) == ["one", "☃"]


async def test_a_stream_is_utf_8_whatever_it_says():
    headers = {"content-type": "text/event-stream; charset=latin-1"}
    assert await words(
        lambda request: httpx.Response(200, headers=headers, content=event("☃"))
    ) == ["☃"]


async def test_the_request():
    seen = []

    def answer(request):
        seen.append(request)
        return httpx.Response(200, headers=HEADERS, content=EVENTS)

    stream = client(answer, host="::1", port=99, model="a/b").words("hi", {"delay": 0.5})
    assert [word async for word in stream]
    (request,) = seen
    assert str(request.url) == "http://[::1]:99/v2/models/a%2Fb/generate_stream"
    body = json.loads(request.content)
    assert body["parameters"] == {"delay": 0.5}
    assert body["inputs"][0]["data"] == ["hi"]
    assert request.headers["accept"] == "text/event-stream"


async def test_a_word_is_given_out_before_the_next_one_exists():
    stream = client(streaming(event("first"), None)).words("x")
    assert await anext(stream) == "first"
    await stream.aclose()


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b'{"error": "no model"}', "no model"),
        (b"<html>", "<html>"),
        (b"", "Not Found"),
        (b'{"detail": "x"}', '{"detail": "x"}'),
    ],
)
async def test_an_http_error(body, text):
    with pytest.raises(RefusedError) as caught:
        await words(lambda request: httpx.Response(404, content=body))
    assert (str(caught.value), caught.value.status) == (f"the server answered 404: {text}", 404)


async def test_an_error_event_ends_the_stream_after_its_words():
    stream = client(
        streaming(event("one"), b'event: error\ndata: {"error": "the model broke"}\n\n')
    ).words("x")
    assert await anext(stream) == "one"
    with pytest.raises(ErrorEventError, match=r"^the model broke$"):
        await anext(stream)


async def test_a_failed_item():
    data = {"outputs": [], "parameters": {"error": "too long", "error_code": 413}}
    with pytest.raises(ItemError, match=r"^too long \(error 413\)$"):
        await words(streaming(f"data: {json.dumps(data)}\n\n".encode()))


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (httpx.ConnectError("refused"), UnreachableError),
        (httpx.ConnectTimeout("late"), NoResponseError),
        (httpx.RemoteProtocolError("illegal request line"), ProtocolError),
    ],
)
async def test_no_answer(error, expected):
    def answer(request):
        raise error

    with pytest.raises(expected):
        await words(answer)


@pytest.mark.parametrize("error", [httpx.ReadError("reset"), httpx.RemoteProtocolError("cut")])
async def test_a_cut_stream(error):
    with pytest.raises(StreamCutError, match="cut before its end"):
        await words(streaming(event("one"), error))


async def test_silence_is_a_timeout_also_with_comments():
    with pytest.raises(NoResponseError, match=r"within 0\.05 s"):
        await words(streaming(event("one"), b": keep-alive\n\n", None), timeout=0.05)


async def test_comments_after_an_id_do_not_count_as_life():
    class Alive(httpx.AsyncByteStream):
        async def __aiter__(self):
            yield b"id: 1\n" + event("one")
            while True:
                await asyncio.sleep(0.01)
                yield b": keep-alive\n\n"

    def answer(request):
        return httpx.Response(200, headers=HEADERS, stream=Alive())

    with pytest.raises(NoResponseError):
        await words(answer, timeout=0.2)


async def test_an_answer_that_is_no_event_stream():
    with pytest.raises(ProtocolError, match="not an event stream"):
        await words(lambda request: httpx.Response(200, json={}))


@pytest.mark.parametrize("data", ["{", "[]", "null", '{"outputs": []}', '{"outputs": [1]}', "1"])
def test_an_event_that_is_no_response(data):
    with pytest.raises(ProtocolError):
        read_words(data)


def test_an_output_that_is_no_text():
    with pytest.raises(ProtocolError, match="not text"):
        read_words('{"outputs": [{"name": "output", "data": [1]}]}')


def http(body: bytes, *, length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    head = f"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: {size}\r\n\r\n"
    return head.encode() + body


def run(port: int, *arguments: str, **options):
    return CliRunner().invoke(main, ["--port", str(port), *arguments], **options)


def test_the_command_prints_the_words(serve_bytes):
    result = run(serve_bytes(http(EVENTS)), "What", "is it?")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "What ☃\n\n", "")


def test_the_command_reads_standard_input(serve_bytes):
    result = run(serve_bytes(http(event("hi"))), input="hi\n")
    assert (result.exit_code, result.stdout) == (0, "hi\n")


def test_the_command_prints_raw_events(serve_bytes):
    result = run(serve_bytes(http(event("hi"))), "--raw", "hi")
    assert json.loads(result.stdout)["outputs"][0]["data"] == ["hi"]


def test_the_command_tells_of_a_cut_stream_on_a_line_of_its_own(serve_bytes):
    result = run(serve_bytes(http(event("one"), length=1000)), "x")
    assert (result.exit_code, result.stdout) == (1, "one\n")
    assert result.stderr.startswith("Error: the answer from 127.0.0.1:")
    assert result.stderr.count("\n") == 1


def test_the_command_tells_of_a_refused_connection(closed_port):
    result = run(closed_port, "x")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(f"Error: nobody answers at 127.0.0.1:{closed_port}")
    assert result.stderr.count("\n") == 1


async def test_the_key_goes_with_the_request():
    asked = []

    def answer(request):
        asked.append(request)
        return streaming(EVENTS)(request)

    await words(answer, credentials=Credentials("k", "t"))
    await words(answer)
    assert (asked[0].headers["x-api-key"], asked[0].headers["authorization"]) == ("k", "Bearer t")
    assert not {"x-api-key", "authorization"} & {*asked[1].headers}
