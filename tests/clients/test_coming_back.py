"""Clients come back to a stream that outlives its connection: each response once, or an error."""

import json

import grpc
import httpx
import pytest
from click.testing import CliRunner
from mlserver.grpc.dataplane_pb2 import InferParameter

import clients.grpc_client
import clients.sse_client
from clients.errors import (
    ErrorEventError,
    ProtocolError,
    RefusedError,
    StreamCutError,
    UnreachableError,
)
from clients.grpc_client import GrpcTextClient
from clients.sse_client import SseClient
from clients.stream_place import TRIES, StreamPlace
from tests.clients.responses import element, raw_response
from tests.clients.test_sse_client import HEADERS, Pieces, event

STREAM = "s" * 22
WORDS = [f"w{number} " for number in range(1, 51)]
CUT = httpx.ReadError("reset")


def numbered(number: int) -> bytes:
    return f"id: {STREAM}.{number}\n".encode() + event(WORDS[number - 1])


class Service:
    """Says WORDS, `each` at a connection, and then does `then`.

    Attributes:
        asked: the method, and where it is to go on behind, of each connection.
        answers: instead of the next connections: statuses, or what is raised.
    """

    def __init__(self, each: int, *then) -> None:
        self.each, self.then = each, then
        self.asked: list[tuple[str, str | None]] = []
        self.answers: list[httpx.Response | Exception] = []

    def __call__(self, request):
        last = request.headers.get("last-event-id")
        self.asked.append((request.method, last))
        if last is not None:
            assert str(request.url) == f"http://127.0.0.1:8080/v2/streams/{STREAM}"
            if self.answers:
                answer = self.answers.pop(0)
                if isinstance(answer, Exception):
                    raise answer
                return answer
        begin = 0 if last is None else int(last.rpartition(".")[2])
        if begin == len(WORDS):
            return httpx.Response(204)
        end = min(begin + self.each, len(WORDS))
        said = [numbered(number) for number in range(begin + 1, end + 1)]
        return httpx.Response(200, headers=HEADERS, stream=Pieces(*said, *self.then))


async def said(service, place=None) -> list[str]:
    client = SseClient(transport=httpx.MockTransport(service))
    return [word async for word in client.words("x", {"resumable": True}, place)]


async def test_a_connection_that_is_cut_after_each_response():
    service, place = Service(1, CUT), StreamPlace()
    assert await said(service, place) == WORDS
    assert service.asked[:2] == [("POST", None), ("GET", f"{STREAM}.1")]
    assert (len(service.asked), place.times) == (51, 50)


@pytest.mark.parametrize("each", range(2, 50, 7))
async def test_connections_that_are_cut_now_and_then(each):
    service, place = Service(each, CUT), StreamPlace()
    assert await said(service, place) == WORDS
    assert place.times == -(-50 // each)  # at its very end too


async def test_each_replica_may_go_on_under_another_id():
    asked = []

    def service(request):
        place = request.headers.get("last-event-id", f"{'s' * 22}.0")
        stream, _, number = place.partition(".")
        asked.append(request.url.path.rpartition("/")[2])
        assert asked[-1] in (stream, "generate_stream")
        if number == "3":
            return httpx.Response(204)
        going_on = chr(ord(stream[0]) + 1) * 22
        said = f"id: {going_on}.{int(number) + 1}\n".encode() + event(WORDS[int(number)])
        return httpx.Response(200, headers=HEADERS, stream=Pieces(said, CUT))

    assert await said(service) == WORDS[:3]
    assert [each[0] for each in asked[1:]] == ["t", "u", "v"]


async def test_a_stream_that_is_not_cut():
    service, place = Service(50), StreamPlace()
    assert (await said(service, place), place.times, place.summary()) == (WORDS, 0, "")
    assert service.asked == [("POST", None)]


async def test_a_replica_that_stops_says_so_and_when_to_come_back(monkeypatch):
    pauses = []

    async def sleep(seconds):
        pauses.append(seconds)

    monkeypatch.setattr("clients.retries.asyncio.sleep", sleep)
    service, place = Service(30, b"retry: 700\n: another replica goes on\n\n"), StreamPlace()
    assert (await said(service, place), place.times) == (WORDS, 2)
    assert min(pauses) >= 0.7


async def test_what_passes_is_waited_for():
    service, place = Service(30, CUT), StreamPlace()
    service.answers = [httpx.ConnectError("refused"), httpx.Response(503), CUT]
    assert (await said(service, place), place.times) == (WORDS, 2)


async def test_who_comes_back_in_vain_gives_up():
    service = Service(30, CUT)
    service.answers = [httpx.ConnectError("refused")] * 100
    with pytest.raises(UnreachableError):
        await said(service)
    assert len(service.asked) == TRIES


@pytest.mark.parametrize("status", [400, 404, 410])
async def test_a_stream_that_is_gone(status):
    service = Service(30, CUT)
    service.answers = [httpx.Response(status, json={"error": "It is gone."})]
    with pytest.raises(RefusedError, match=f"{status}: It is gone"):
        await said(service)


async def test_an_error_of_the_run_is_its_end():
    service = Service(30, b'event: error\ndata: {"error": "the model broke"}\n\n')
    with pytest.raises(ErrorEventError, match="the model broke"):
        await said(service)
    assert len(service.asked) == 1


@pytest.mark.parametrize("number", [29, 30, 32])
async def test_a_gap_and_a_repetition_are_told(number):
    service = Service(30, CUT)
    service.answers = [httpx.Response(200, headers=HEADERS, content=numbered(number))]
    with pytest.raises(ProtocolError, match=f"response {number} of the stream came after 30"):
        await said(service)


async def test_ids_of_others_promise_nothing():
    pieces = [b"id: 1\n" + event("one"), CUT]
    with pytest.raises(StreamCutError):
        await said(lambda request: httpx.Response(200, headers=HEADERS, stream=Pieces(*pieces)))


def test_the_command_says_that_it_came_back(monkeypatch):
    service = Service(20, CUT)
    transport = httpx.MockTransport(service)
    make = clients.sse_client.SseClient
    monkeypatch.setattr(
        clients.sse_client, "SseClient", lambda **given: make(transport=transport, **given)
    )
    result = CliRunner().invoke(clients.sse_client.main, ["--resumable", "x"])
    assert (result.exit_code, result.stdout) == (0, "".join(WORDS) + "\n")
    assert result.stderr == "The connection was lost; came back to the stream 3 times.\n"


class Servicer:
    """Says each prompt's words; the connection is cut after `each` responses of a call."""

    def __init__(self, each: int, reads: int = 100) -> None:
        self.each, self.reads = each, reads
        self.kept: list = []
        self.asked: list[tuple[str | None, list[str]]] = []

    def __call__(self, requests, context):
        resume = dict(context.invocation_metadata()).get("x-resume")
        begin = 0
        if resume is None:
            self.kept, seen = [], []
            for request in requests:
                seen.append(request.id)
                prompt = element(request.raw_input_contents[0]).decode()
                for word in prompt.split():
                    self.kept.append((request.id, word))
                if len(seen) == self.reads:
                    break
            self.asked.append((None, seen))
        else:
            assert list(requests) == []
            self.asked.append((resume, []))
            begin = int(resume.rpartition(".")[2])
        for number, (request_id, word) in enumerate(self.kept[begin:], start=begin + 1):
            response = raw_response(request_id, "output", word.encode())
            name = f"{STREAM}.{number}"
            response.parameters["resume_id"].CopyFrom(InferParameter(string_param=name))
            yield response
            if number - begin == self.each:
                context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")


async def answers(port: int, *prompts: str, place=None) -> list[tuple[str, str]]:
    async with GrpcTextClient(port=port) as client:
        responses = client.responses(prompts, {"resumable": True}, place)
        return [(response.id, response.text or str(response.error)) async for response in responses]


async def test_a_grpc_stream_that_is_cut_after_each_response(serve_grpc):
    service, place = Servicer(1), StreamPlace()
    prompt = "".join(WORDS)
    got = await answers(serve_grpc(service), prompt, place=place)
    assert got == [("0", word.strip()) for word in WORDS]
    assert place.times == 50
    assert service.asked[:2] == [(None, ["0"]), (f"{STREAM}.1", [])]


async def test_prompts_that_were_not_read_are_asked_after_the_rest_of_those_that_were(serve_grpc):
    service, place = Servicer(2, reads=2), StreamPlace()
    got = await answers(serve_grpc(service), "a b c", "d e", "f", place=place)
    assert got == [("0", "a"), ("0", "b"), ("0", "c"), ("1", "d"), ("1", "e"), ("2", "f")]
    assert service.asked[-1] == (None, ["2"])


async def test_a_grpc_stream_that_is_gone_fails_its_prompt_only(serve_grpc):
    calls = []

    def service(requests, context):
        calls.append(dict(context.invocation_metadata()).get("x-resume"))
        if len(calls) == 2:
            context.abort(grpc.StatusCode.NOT_FOUND, "There is no such stream.")
        reads = Servicer(1 if len(calls) == 1 else 100, reads=1)
        yield from reads(requests, context)

    got = await answers(serve_grpc(service), "a b", "c")
    assert got == [
        ("0", "a"),
        ("0", "the server answered NOT_FOUND: There is no such stream."),
        ("1", "c"),
    ]


def test_the_grpc_command_says_that_it_came_back(serve_grpc):
    port = serve_grpc(Servicer(2))
    arguments = ["--port", str(port), "--resumable", "a b c"]
    result = CliRunner().invoke(clients.grpc_client.main, arguments)
    assert (result.exit_code, result.stdout) == (0, "abc\n")
    assert result.stderr == "The connection was lost; came back to the stream once.\n"


def test_the_parameter_is_asked_for(monkeypatch):
    bodies = []

    def answer(request):
        bodies.append(json.loads(request.content)["parameters"])
        return httpx.Response(200, headers=HEADERS, content=event("hi"))

    make = clients.sse_client.SseClient
    transport = httpx.MockTransport(answer)
    monkeypatch.setattr(
        clients.sse_client, "SseClient", lambda **given: make(transport=transport, **given)
    )
    for arguments in (["x"], ["--resumable", "x"]):
        assert CliRunner().invoke(clients.sse_client.main, arguments).exit_code == 0
    assert bodies == [{}, {"resumable": True}]
