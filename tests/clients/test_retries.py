"""Clients live with replicas that go away: what nobody began to answer is asked again."""

import asyncio
from itertools import count

import grpc
import httpx
import pytest

import clients.retries
from clients.errors import (
    ClientError,
    ItemError,
    RefusedError,
    StreamCutError,
    UnreachableError,
)
from clients.grpc_client import GrpcTextClient
from clients.grpc_messages import bytes_output, bytes_request
from clients.jpeg_stream import JpegStream
from clients.lasting_source import LastingSource
from clients.retries import LONGEST_PAUSE_S, TRIES, Retries
from clients.sequence_header import sequence_headers
from clients.speech.audio_source import Clip
from clients.speech.heard import Heard
from clients.speech.mode import Mode
from clients.speech.run import Lines, listen, run_mode
from clients.sse_client import SseClient
from tests.clients.responses import element, raw_response
from tests.clients.test_sse_client import EVENTS, HEADERS, Pieces, event

CUT = StreamCutError("cut")
GONE = [
    (grpc.StatusCode.UNKNOWN, "Stream removed"),
    (grpc.StatusCode.UNAVAILABLE, "Socket closed"),
    (grpc.StatusCode.UNAVAILABLE, "GOAWAY received"),
    (grpc.StatusCode.UNAVAILABLE, "recvmsg:Connection reset by peer"),
    (grpc.StatusCode.UNAVAILABLE, "The service is shutting down."),
    (grpc.StatusCode.INTERNAL, "Received RST_STREAM with error code 2"),
]


@pytest.fixture
def pauses(monkeypatch):
    """The pauses that are made, none of them waited for."""
    made = []

    async def sleep(seconds):
        made.append(seconds)

    monkeypatch.setattr("clients.retries.asyncio.sleep", sleep)
    return made


async def tries(retries: Retries, error: ClientError) -> int:
    """How many a call that always fails so has."""
    for number in count(1):
        try:
            await retries.after(error)
        except ClientError as raised:
            assert raised is error
            assert not raised.passing
            return number
    raise AssertionError


async def test_tries_are_bounded_and_their_pauses_grow(pauses):
    assert await tries(Retries(), StreamCutError("cut")) == TRIES
    first = clients.retries.FIRST_PAUSE_S
    for number, pause in enumerate(pauses):
        assert 0.5 <= pause / (first * 2**number) <= 1.5
    assert len(set(pauses)) == TRIES - 1


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (RefusedError("no", 404), 1),
        (RefusedError("no", "NOT_FOUND"), 1),
        (RefusedError("drain", 503), TRIES),
        (RefusedError("no replica", 502), TRIES),
        (RefusedError("drain", "UNAVAILABLE"), TRIES),
        (RefusedError("full", 429), 1),
        (RefusedError("full", 429, 1.0), TRIES),
        (RefusedError("long", 503, LONGEST_PAUSE_S + 1), 1),
        (ItemError("bad"), 1),
        (UnreachableError("nobody"), TRIES),
    ],
)
async def test_what_is_tried_again(pauses, error, expected):
    assert await tries(Retries(), error) == expected


async def test_a_server_says_when(pauses):
    await Retries().after(RefusedError("full", 503, 7.0))
    assert pauses == [7.0]


@pytest.mark.parametrize(
    ("error", "expected"), [(StreamCutError("cut"), 1), (UnreachableError("nobody"), TRIES)]
)
async def test_of_a_sequence_only_what_cannot_have_arrived(pauses, error, expected):
    assert await tries(Retries(in_sequence=True), error) == expected


class Replicas:
    """A server that goes away under its first calls, each after so many responses."""

    def __init__(self, *answers, code=grpc.StatusCode.UNKNOWN, details="Stream removed"):
        self._answers, self._code, self._details = list(answers), code, details
        self.asked, self.metadata = [], []

    def __call__(self, requests, context):
        self.metadata.append(dict(context.invocation_metadata()))
        left = self._answers.pop(0) if self._answers else None
        for request in requests:
            self.asked.append(request.id)
            for word in element(request.raw_input_contents[0]).split():
                if left == 0:
                    context.abort(self._code, self._details)
                left = None if left is None else left - 1
                yield raw_response(request.id, "output", word)


async def responses(port, *prompts, **parameters):
    async with GrpcTextClient(port=port) as client:
        return [
            (each.id, each.text or each.error)
            async for each in client.responses(prompts, parameters)
        ]


@pytest.mark.parametrize(("code", "details"), GONE)
async def test_prompts_without_an_answer_are_asked_again(serve_grpc, code, details):
    server = Replicas(0, 0, code=code, details=details)
    assert await responses(serve_grpc(server), "a", "b") == [("0", "a"), ("1", "b")]
    assert len(server.metadata) == 3


async def test_what_was_answered_is_not_asked_again(serve_grpc):
    """The third answer breaks off, which is told; the fourth prompt has its own."""
    server = Replicas(4)
    found = await responses(serve_grpc(server), "a", "b", "c d e", "f")
    assert found[:4] == [("0", "a"), ("1", "b"), ("2", "c"), ("2", "d")]
    assert found[4][0] == "2" and "was cut before its end" in str(found[4][1])
    assert found[5:] == [("3", "f")]
    assert server.asked.count("0") == server.asked.count("1") == server.asked.count("2") == 1


async def test_words_that_break_off_are_an_error(serve_grpc):
    words = []
    async with GrpcTextClient(port=serve_grpc(Replicas(1))) as client:
        with pytest.raises(StreamCutError, match="was cut before its end"):
            async for word in client.words("a b"):
                words.append(word)
    assert words == ["a"]


async def test_tries_end(serve_grpc):
    server = Replicas(*[0] * 100)
    with pytest.raises(StreamCutError):
        await responses(serve_grpc(server), "a")
    assert len(server.metadata) == TRIES


async def test_a_request_of_a_sequence_is_sent_once(serve_grpc):
    server = Replicas(0)
    with pytest.raises(StreamCutError):
        await responses(serve_grpc(server), "a", sequence_id="chat 7")
    assert server.asked == ["0"]
    assert server.metadata[0]["x-sequence-id"] == "chat%207"


@pytest.mark.parametrize(("milliseconds", "expected"), [("250", [0.25]), ("-1", [])])
async def test_pushback(serve_grpc, pauses, milliseconds, expected):
    def busy_once(requests, context):
        if not calls:
            calls.append(context)
            context.set_trailing_metadata((("grpc-retry-pushback-ms", milliseconds),))
            context.abort(grpc.StatusCode.UNAVAILABLE, "busy")
        for request in requests:
            yield raw_response(request.id, "output", b"a")

    calls = []
    if expected:
        assert await responses(serve_grpc(busy_once), "a") == [("0", "a")]
    else:
        with pytest.raises(RefusedError, match="busy"):
            await responses(serve_grpc(busy_once), "a")
    assert pauses == expected


async def test_a_unary_call_is_made_again(serve_grpc):
    server = Replicas(0, code=grpc.StatusCode.UNAVAILABLE, details="Socket closed")
    async with GrpcTextClient(port=serve_grpc(server)) as client:
        request = bytes_request(b"a", model="m", request_id="0", tensor="prompt")
        assert bytes_output(await client.ask(request), "output") == b"a"
    assert server.asked == ["0", "0"]


async def test_frames_start_at_a_server_that_is_there(serve_grpc):
    """START is sent again under another name: nobody knows whether the first had been read."""
    ids = []

    def gone_once(requests, context):
        for request in requests:
            ids.append(request.parameters["sequence_id"].string_param)
            assert dict(context.invocation_metadata())["x-sequence-id"] == ids[-1]
            if len(ids) == 1:
                context.abort(grpc.StatusCode.UNKNOWN, "Stream removed")
            yield raw_response(request.id, "output_image", b"x")

    async with JpegStream(port=serve_grpc(gone_once)) as stream:
        assert await stream(b"a") == b"x"
    assert len(set(ids)) == 2
    assert ids[0] not in ids[1:]


def gone(*failures):
    """An HTTP server that fails so at first; it notes the requests."""
    left, seen = list(failures), []

    def answer(request):
        seen.append(request)
        if not left:
            return httpx.Response(200, headers=HEADERS, stream=Pieces(EVENTS))
        failure = left.pop(0)
        if isinstance(failure, Exception):
            raise failure
        return failure

    return answer, seen


async def words(answer, **parameters):
    client = SseClient(transport=httpx.MockTransport(answer))
    return [word async for word in client.words("x", parameters)]


def unanswered(*pieces):
    return httpx.Response(200, headers=HEADERS, stream=Pieces(*pieces))


@pytest.mark.parametrize(
    "failure",
    [
        httpx.ConnectError("refused"),
        httpx.ReadError("reset"),
        httpx.RemoteProtocolError("Server disconnected without sending a response."),
        httpx.Response(503, json={"error": "The service is shutting down."}),
        httpx.Response(502),
        unanswered(b": keep-alive\n\n", httpx.ReadError("reset")),
    ],
)
async def test_events_are_asked_for_again(failure):
    answer, seen = gone(failure)
    assert await words(answer) == ["What", " ☃", "\n"]
    assert len(seen) == 2
    assert seen[0].content == seen[1].content


async def test_retry_after(pauses):
    answer, _ = gone(httpx.Response(429, headers={"Retry-After": "3"}))
    assert await words(answer) == ["What", " ☃", "\n"]
    assert pauses == [3.0]


async def test_events_that_break_off_are_not_asked_for_again():
    answer, seen = gone(unanswered(event("one"), httpx.ReadError("reset")))
    with pytest.raises(StreamCutError, match="cut before its end"):
        await words(answer)
    assert len(seen) == 1


async def test_an_event_of_a_sequence_is_asked_for_once():
    answer, seen = gone(httpx.ReadError("reset"))
    with pytest.raises(StreamCutError):
        await words(answer, sequence_id=7, sequence_start=True)
    assert [request.headers["x-sequence-id"] for request in seen] == ["7"]


@pytest.mark.parametrize(
    ("sequence_id", "header"),
    [
        (7, "7"),
        ("cam-1", "cam-1"),
        ("a b", "a%20b"),
        ("50%", "50%25"),
        ("größe", "gr%C3%B6%C3%9Fe"),
    ],
)
def test_any_id_fits_the_header(sequence_id, header):
    assert sequence_headers(sequence_id) == {"x-sequence-id": header}


@pytest.mark.parametrize("sequence_id", [0, "", None])
def test_no_sequence_has_no_header(sequence_id):
    assert sequence_headers(sequence_id) == {}


class Calls:
    """A speech model that says each chunk it is sent; calls fail before so many words of theirs."""

    def __init__(self, *failures):
        self._failures, self.calls = list(failures), 0

    async def stream(self, recordings, sample_rate=None):
        self.calls += 1
        left = self._failures.pop(0) if self._failures else -1
        for index, chunks in enumerate(recordings):
            async for chunk in chunks:
                if left == 0:
                    raise StreamCutError("the stream was cut")
                left -= 1
                yield Heard(index, chunk.decode(), True, 0, 0.0, 0.0)


class Words(Clip):
    """A recording whose chunks are words."""

    def chunks(self, seconds=0.1):
        return self.data.split()


CLIPS = [Words("one", b"he was", 1.0), Words("two", b"an ill man", 1.0)]


async def test_a_recording_that_nobody_heard_is_sent_again():
    calls = Calls(0, 0)
    report = await run_mode(calls, CLIPS, Mode(streaming=True))
    assert (report.errors, calls.calls) == ({}, 4)
    assert [report.transcripts[index] for index in (0, 1)] == ["he was", "an ill man"]


async def test_one_that_breaks_off_is_told_and_the_next_one_goes_on():
    calls = Calls(1)
    report = await run_mode(calls, CLIPS, Mode(streaming=True))
    assert report.errors == {0: "the stream was cut"}
    assert (report.transcripts[1], calls.calls) == ("an ill man", 2)


async def test_listening_goes_on_at_another_server(capsys):
    async def spoken():
        for word in (b"he", b"was", b"an"):
            yield word

    await listen(Calls(1), spoken(), None, Lines(["microphone"]))
    out, err = capsys.readouterr()
    assert out.split() == ["microphone:", "he", "microphone:", "an"]
    assert err == "the stream was cut; what was said since the last line is lost\n"


async def test_a_source_outlives_who_waits_for_it():
    ready = asyncio.Event()

    async def slow():
        await ready.wait()
        yield 1

    source = LastingSource(slow())
    waiting = asyncio.create_task(anext(source))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait({waiting})
    ready.set()
    assert ([each async for each in source], source.is_over) == ([1], True)
    await source.aclose()
