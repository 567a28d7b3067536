"""The SSE edge with a fake client: what it sends, in which order, and what an error becomes."""

import asyncio
import random
import string
import zlib

import numpy as np
import orjson
import pytest
from mlserver.types import InferenceResponse, Parameters

from mlserver_streaming.errors import BadRequestError, RequestFailedError, TooLargeError
from mlserver_streaming.models.messages import output, text_response
from mlserver_streaming.rest.events import READY_BYTES, EventStreamResponse
from mlserver_streaming.rest.framing import EVENTS, KEEP_ALIVE, LINES
from mlserver_streaming.streams.response_bound import ResponseBound
from mlserver_streaming.streams.rotation import Rotation
from mlserver_streaming.tensors.json_codec import encode_response
from mlserver_streaming.watch import statistics
from mlserver_streaming.watch.statistics import Served

LONG = 3600.0  # seconds: longer than any test


def said(word, **parameters):
    return InferenceResponse.model_construct(
        model_name=word, outputs=[], parameters=Parameters(**parameters) if parameters else None
    )


def event(word):
    return b'data: {"model_name":"%b","outputs":[]}\n\n' % word.encode()


class Client:
    """The other side: takes messages, the one numbered `slow` only when it `reads` again."""

    def __init__(self, slow=None):
        self.messages = []
        self.hung_up = asyncio.Event()
        self.took = asyncio.Condition()
        self.slowed = asyncio.Event()
        self.reads = asyncio.Event()
        self._slow = slow

    async def receive(self):
        await self.hung_up.wait()
        return {"type": "http.disconnect"}

    async def send(self, message):
        if len(self.messages) == self._slow:
            self._slow = None
            self.slowed.set()
            await self.reads.wait()
        self.messages.append(message)
        async with self.took:
            self.took.notify_all()

    async def until(self, ready):
        async with self.took:
            await self.took.wait_for(lambda: ready(self))

    @property
    def headers(self):
        return dict(self.messages[0]["headers"])

    @property
    def bodies(self):
        return [message["body"] for message in self.messages[1:]]


async def sent(responses, client=None, **arguments):
    client = client or Client()
    arguments = {"grace": LONG, "keepalive": LONG} | arguments
    response = EventStreamResponse(responses, **arguments)
    await response({"type": "http"}, client.receive, client.send)
    return client


async def words(*items, ready=False):
    """A model's responses; it waits after each unless they are all ready."""
    for item in items:
        if isinstance(item, Exception):
            raise item
        yield said(item) if isinstance(item, str) else item
        if not ready:
            await asyncio.sleep(0)


async def test_events_that_are_ready_together_leave_together():
    client = await sent(words("a", "b", "c", ready=True), rotation=Rotation(LONG))
    assert client.bodies == [event("a"), event("b") + event("c")], "the first waits for no other"


async def test_a_stream_that_never_waits_makes_room_for_others():
    rounds = 0

    async def others():
        nonlocal rounds
        while True:
            rounds += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(others())
    client = await sent(words(*"abcdef", ready=True), rotation=Rotation(0.0))
    task.cancel()
    assert client.bodies == [*map(event, "abcdef"), b""]
    assert rounds >= 6


@pytest.fixture
def served(monkeypatch):
    monkeypatch.setattr(statistics, "BRIEF_SECONDS", LONG)
    return Served(None, None, None)


async def rounds_of(responses, served):
    """What was sent, and how often the loop went round meanwhile."""
    rounds = 0

    async def others():
        nonlocal rounds
        while True:
            rounds += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(others())
    client = await sent(responses, served=served, rotation=Rotation(LONG))
    task.cancel()
    return client.bodies, rounds


async def test_a_stream_that_is_brief_takes_no_turn_where_the_last_one_was(served):
    before, turns = await rounds_of(words("a", ready=True), served)
    assert served.is_brief
    after, fewer = await rounds_of(words("a", ready=True), served)
    assert before == after == [event("a"), b""]
    assert fewer < turns


async def test_a_stream_that_is_not_takes_its_turn_with_its_second_event(served):
    served.is_brief = True
    bodies, rounds = await rounds_of(words("a", "b", "c", ready=True), served)
    assert bodies == [event("a"), event("b"), event("c")] and rounds
    assert not served.is_brief


@pytest.mark.parametrize("more", [["b"], [BadRequestError("no more")]])
async def test_who_says_more_or_fails_is_not_brief(served, more):
    await rounds_of(words("a", *more), served)
    assert not served.is_brief


async def test_who_takes_its_time_to_end_is_not_brief(served, monkeypatch):
    monkeypatch.setattr(statistics, "BRIEF_SECONDS", 0.0)
    await rounds_of(words("a"), served)
    assert not served.is_brief


async def test_a_brief_stream_needs_no_timer(served, monkeypatch):
    served.is_brief = True
    monkeypatch.setattr(EventStreamResponse, "_look", None)
    await sent(words("a", ready=True), served=served, grace=0.0)


async def test_who_came_with_a_stream_is_answered_before_it_goes_on():
    order, rotation = [], Rotation(LONG)
    later = []

    async def noted(*texts):
        for text in texts:
            order.append(text)
            yield said(text)

    async def first():
        loop = asyncio.get_running_loop()
        async for response in noted("a", "b"):
            if not later:  # as what is read from a socket: in the next round
                loop.call_soon(
                    lambda: later.append(loop.create_task(sent(noted("c", "d"), rotation=rotation)))
                )
            yield response

    await sent(first(), rotation=rotation)
    await later[0]
    assert order[:3] == ["a", "c", "b"]


async def test_many_ready_events_leave_in_pieces():
    long = "a" * READY_BYTES
    responses = words("a", "b", long, long, "c", ready=True)
    client = await sent(responses, rotation=Rotation(LONG))
    assert client.bodies == [event("a"), event("b") + event(long), event(long), event("c")]


async def test_an_error_behind_a_ready_response_is_an_event():
    client = await sent(words("a", BadRequestError("no more"), ready=True))
    assert client.messages[0]["status"] == 200
    error = b'event: error\ndata: {"error":"no more"}\n\n'
    assert client.bodies == [event("a"), error]


@pytest.mark.parametrize("framing", [EVENTS, LINES])
async def test_what_stands_around_a_response_is_not_of_its_size(framing):
    texts = ["a", "b", "c", "d", "dd"]
    responses = [text_response("m", None, "1", "y", text) for text in texts]
    *fit, last = map(encode_response, responses)
    bound = ResponseBound(len(fit[0]))
    client = await sent(words(*responses), framing=framing, bound=bound)
    with pytest.raises(TooLargeError) as too_large:
        bound.check(len(last))
    said = orjson.dumps({"error": str(too_large.value)})
    events = [framing.event % each for each in fit] + [framing.error % said]
    assert b"".join(client.bodies) == b"".join(events)


async def test_an_event_that_the_stream_waits_after_leaves_at_once():
    client = await sent(words("a", "b"))
    assert client.messages[0]["status"] == 200
    assert client.headers == {
        b"content-type": b"text/event-stream; charset=utf-8",
        b"cache-control": b"no-store",
        b"x-accel-buffering": b"no",
    }
    assert client.bodies == [event("a"), event("b"), b""]
    assert [message["more_body"] for message in client.messages[1:]] == [True, True, False]


async def test_no_response_at_all_is_an_empty_stream():
    client = await sent(words())
    assert (client.messages[0]["status"], client.bodies) == (200, [b""])


async def test_each_event_is_flushed_through_gzip():
    client = await sent(words("a", "b"), gzip=True)
    assert client.headers[b"content-encoding"] == b"gzip"
    assert client.headers[b"vary"] == b"Accept-Encoding"
    decoder = zlib.decompressobj(16 + zlib.MAX_WBITS)
    found = [decoder.decompress(body) for body in client.bodies]
    assert found == [event("a"), event("b"), b""]
    assert decoder.eof


async def test_short_events_are_compressed_in_little_memory_though_the_first_is_longer():
    """As the `Ce-*` headers make it; a decoder of so small a window shows what the encoder has."""
    chance = random.Random(1)
    kinds = [chance.randbytes(80).hex() for _ in range(12)]  # repeated farther away than that
    first = "".join(chance.choices(string.ascii_letters, k=500))
    client = await sent(words(first, *kinds * 3), gzip=True)
    decoder = zlib.decompressobj(16 + 10)
    found = [decoder.decompress(body) for body in client.bodies]
    assert found == [*map(event, [first, *kinds * 3]), b""]


class Names:
    """Responses written as the names of their models, short or not."""

    def __init__(self, short):
        self.short = short

    def encode(self, response):
        return response.model_name.encode() if self.short else None

    def written(self, response):
        yield
        return [each.encode() for each in response.model_name]


@pytest.mark.parametrize("short", [True, False])
async def test_another_encoding_of_responses(short):
    client = await sent(words("ab"), answers=Names(short))
    assert client.bodies == [b"data: ab\n\n", b""]


async def test_a_large_event_leaves_in_pieces_while_others_have_a_turn():
    turns = 0

    async def others():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    beside = asyncio.create_task(others())
    array = np.zeros(400_000, np.float32)
    large = said("m")
    large.outputs = [output("x", "FP32", [len(array)], array)]
    client = await sent(words(large))
    beside.cancel()
    assert len(client.bodies) > 4
    assert turns >= len(client.bodies)
    (event,) = b"".join(client.bodies).split(b"\n\n")[:-1]
    assert orjson.loads(event.removeprefix(b"data: "))["outputs"][0]["data"] == [0.0] * len(array)


async def test_an_error_before_the_first_response_is_raised():
    client = Client()
    with pytest.raises(BadRequestError, match="no"):
        await sent(words(BadRequestError("no")), client)
    assert client.messages == []


async def test_a_stream_that_is_one_failure_is_that_error():
    client = Client()
    failure = said("m", error="bad frame", error_code=422)
    with pytest.raises(RequestFailedError, match="bad frame") as caught:
        await sent(words(failure), client)
    assert (caught.value.status_code, client.messages) == (422, [])


async def test_a_failure_among_others_is_an_event():
    client = await sent(words(said("m", error="bad", error_code=422), "b"))
    first, second, end = b"".join(client.bodies).split(b"\n\n")
    assert orjson.loads(first.removeprefix(b"data: "))["parameters"] == {
        "error": "bad",
        "error_code": 422,
    }
    assert (second + b"\n\n", end) == (event("b"), b"")


@pytest.mark.parametrize("gzip", [False, True])
async def test_an_error_after_the_first_response_is_an_event_and_a_proper_end(gzip):
    client = await sent(words("a", BadRequestError("no more")), gzip=gzip)
    whole = b"".join(client.bodies)
    if gzip:
        whole = zlib.decompress(whole, 16 + zlib.MAX_WBITS)
    assert whole == event("a") + b'event: error\ndata: {"error":"no more"}\n\n'
    assert not client.messages[-1]["more_body"]


async def test_a_response_that_cannot_be_encoded_does_not_cut_the_stream():
    client = await sent(words("a", said("m", secret=object())))
    assert client.bodies[0] == event("a")
    assert client.bodies[1].startswith(b'event: error\ndata: {"error":"The service failed')
    assert b"secret" not in client.bodies[1]
    assert not client.messages[-1]["more_body"]


async def test_a_first_response_that_cannot_be_encoded_is_raised():
    client = Client()
    with pytest.raises(TypeError):
        await sent(words(said("m", secret=object())), client)
    assert client.messages == []


async def test_silence_after_the_grace_starts_the_stream_with_comments():
    client = Client()

    async def silent():
        await client.until(lambda client: client.bodies.count(KEEP_ALIVE) >= 3)
        yield said("late")

    await sent(silent(), client, grace=0.001, keepalive=0.001)
    assert client.bodies[:3] == [KEEP_ALIVE] * 3
    assert client.bodies[-2:] == [event("late"), b""]


async def test_an_error_after_the_grace_is_an_event():
    client = Client()

    async def silent():
        await client.until(lambda client: KEEP_ALIVE in client.bodies)
        raise BadRequestError("too late for a status")
        yield

    await sent(silent(), client, grace=0.001)
    assert client.bodies[-1].startswith(b"event: error")


async def test_an_event_waits_for_a_comment_that_the_client_is_slow_to_take():
    # Else gzip's output would leave in another order than it was made.
    client = Client(slow=1)

    async def late():
        await client.slowed.wait()
        asyncio.get_running_loop().call_later(0.01, client.reads.set)
        yield said("late")

    await sent(late(), client, grace=0.001, gzip=True)
    whole = zlib.decompress(b"".join(client.bodies), 16 + zlib.MAX_WBITS)
    assert whole == KEEP_ALIVE + event("late")


async def test_no_comment_while_the_client_is_slow_to_take_an_event():
    client = Client(slow=1)

    async def early():
        asyncio.get_running_loop().call_later(0.02, client.reads.set)
        yield said("early")
        await client.until(lambda client: KEEP_ALIVE in client.bodies)

    await sent(early(), client, grace=0.001, keepalive=0.001)
    assert client.bodies[:2] == [event("early"), KEEP_ALIVE]


async def test_a_client_that_hangs_up_ends_the_model():
    client = Client()
    closed = []

    async def endless():
        try:
            while True:
                yield said("a")
                await asyncio.sleep(0)
        finally:
            closed.append(True)

    async def leave():
        await client.until(lambda client: len(client.messages) > 3)
        client.hung_up.set()

    leaving = asyncio.create_task(leave())
    await sent(endless(), client)
    await leaving
    assert closed == [True]
    assert client.messages[-1]["more_body"]
