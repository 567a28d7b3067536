"""One connection, several models: each has its own requests, its own pace and its own failures."""

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from mlserver import MLModel
from mlserver.errors import MLServerError
from mlserver.types import InferenceRequest, InferenceResponse

from mlserver_streaming.errors import (
    BadRequestError,
    DeadlineError,
    InternalError,
    NoSuchModelError,
    RequestFailedError,
)
from mlserver_streaming.rpc.outbox import Outbox
from mlserver_streaming.rpc.requests import DecodedRequest
from mlserver_streaming.streams import response_writer
from mlserver_streaming.streams.data_plane import StreamingDataPlane
from mlserver_streaming.streams.substreams import REQUESTS_AHEAD, Substreams
from mlserver_streaming.streams.turnstile import Turnstile
from tests.streams.planes import answer, ask, asked, failure, plane_of

SECRET = "a secret that no client may see"


class Echo(MLModel):
    """Says each request again, or does what it says."""

    async def predict_stream(
        self, payloads: AsyncIterator[InferenceRequest]
    ) -> AsyncIterator[InferenceResponse]:
        async for request in payloads:
            match asked(request):
                case "raise":
                    raise ValueError(SECRET)
                case "refuse":
                    raise MLServerError("refused", 503)
                case "fail":
                    yield failure("failed", 422)
                case "end":
                    yield answer("the end")
                    return
                case other:
                    yield answer(other)


class Refusing(MLModel):
    """Reads nothing, and refuses."""

    async def predict_stream(self, payloads: Any) -> AsyncIterator[InferenceResponse]:
        raise MLServerError("refused at once", 503)
        yield


class Gated(MLModel):
    """Answers a request when its gate is open."""

    async def load(self) -> bool:
        self.gate = asyncio.Event()
        self.read = 0
        self.closed = False
        return True

    async def predict_stream(
        self, payloads: AsyncIterator[InferenceRequest]
    ) -> AsyncIterator[InferenceResponse]:
        try:
            async for request in payloads:
                self.read += 1
                await self.gate.wait()
                yield answer(asked(request))
        finally:
            self.closed = True


class Sequenced(MLModel):
    """Says what it has met so far, all streams together; "hang" is met and never answered."""

    async def load(self) -> bool:
        self.met: list[str] = []
        return True

    async def predict_stream(
        self, payloads: AsyncIterator[InferenceRequest]
    ) -> AsyncIterator[InferenceResponse]:
        async for request in payloads:
            self.met.append(asked(request))
            for _ in range(3):
                await asyncio.sleep(0)
            if self.met[-1] == "hang":
                await asyncio.Event().wait()
            yield answer(" ".join(self.met))


MODELS = {
    "a": Echo,
    "b": Echo,
    "gated": Gated,
    "refusing": Refusing,
    "sequenced": Sequenced,
}


@pytest.fixture
async def plane(tmp_path: Path) -> AsyncIterator[StreamingDataPlane]:
    async with plane_of(tmp_path, MODELS) as served:
        yield served


Message = tuple[InferenceResponse, bool, MLModel | None]


class Wire:
    """What was written to a client: (id, text or error)."""

    def __init__(self) -> None:
        self.written: list[tuple[str, str]] = []
        self.forms: list[bool] = []
        self.changed = asyncio.Event()
        self._lock = asyncio.Lock()
        self._writing = False

    def encode(self, response: InferenceResponse, raw: bool, model: MLModel | None) -> Message:
        return response, raw, model

    def final(self, request_id: str) -> Message | None:
        return None

    def outbox(self, model: MLModel | None) -> Outbox:
        return Outbox(self._write, self._lock, Turnstile(), 16)

    async def _write(self, message: Message) -> None:
        response, raw, _ = message
        assert not self._writing, "two responses are written at once"
        self._writing = True
        await asyncio.sleep(0)
        said = [element for output in response.outputs for element in output.data.root]
        extra = (response.parameters and response.parameters.model_extra) or {}
        text = said[0] if said else f"{extra['error_code']} {extra['error']}"
        self.written.append((response.id, text))
        self.forms.append(raw)
        self._writing = False
        self.changed.set()

    async def until(self, count: int) -> None:
        async with asyncio.timeout(10):
            while len(self.written) < count:
                self.changed.clear()
                await self.changed.wait()

    def of(self, *ids: str) -> list[tuple[str, str]]:
        return [entry for entry in self.written if entry[0] in ids]


def to(
    model: str, text: str, id: str, *, version: str = "", raw: bool = False, **parameters: Any
) -> DecodedRequest:
    return DecodedRequest(model, version, ask(text, id, **parameters), raw)


async def turns(count: int = 30) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_each_model_answers_its_own_requests_in_their_order(
    plane: StreamingDataPlane,
) -> None:
    wire = Wire()
    async with Substreams(plane, wire) as models:
        for number in range(6):
            await models.put(to("ab"[number % 2], f"text {number}", str(number)))
    assert wire.of("0", "2", "4") == [(id, f"text {id}") for id in "024"]
    assert wire.of("1", "3", "5") == [(id, f"text {id}") for id in "135"]
    assert len(wire.written) == 6


async def test_a_slow_model_does_not_hold_up_another(plane: StreamingDataPlane) -> None:
    wire = Wire()
    gated: Any = await plane.model("gated")
    async with Substreams(plane, wire) as models:
        await models.put(to("gated", "slow", "1"))
        await models.put(to("a", "fast", "2"))
        await wire.until(1)
        assert wire.written == [("2", "fast")]
        gated.gate.set()
    assert wire.written == [("2", "fast"), ("1", "slow")]


async def test_answers_are_raw_where_the_question_was(plane: StreamingDataPlane) -> None:
    wire = Wire()
    async with Substreams(plane, wire) as models:
        await models.put(to("a", "raw", "1", raw=True))
        await wire.until(1)
        await models.put(to("b", "typed", "2"))
    assert wire.forms == [True, False]


async def test_a_stream_without_requests_ends_without_responses(plane: StreamingDataPlane) -> None:
    wire = Wire()
    async with Substreams(plane, wire):
        pass
    assert wire.written == []


# -- failures of a stream's only model are the stream's --


@pytest.mark.parametrize("before", [0, 2])
async def test_the_only_model_s_failure_ends_the_stream_with_its_status(
    plane: StreamingDataPlane, before: int
) -> None:
    wire = Wire()
    with pytest.raises(MLServerError, match="refused") as caught:
        async with Substreams(plane, wire) as models:
            for number in range(before):
                await models.put(to("a", "good", str(number)))
            await models.put(to("a", "refuse", "bad"))
            await asyncio.Event().wait()  # the client keeps its side open
    assert caught.value.status_code == 503
    assert [text for _, text in wire.written] == ["good"] * before


async def test_an_unexpected_failure_ends_the_stream_without_its_text(
    plane: StreamingDataPlane,
) -> None:
    with pytest.raises(InternalError, match="'the-id'") as caught:
        async with Substreams(plane, Wire()) as models:
            await models.put(to("a", "raise", "the-id"))
    assert SECRET not in str(caught.value)


async def test_a_response_that_cannot_be_encoded_ends_the_stream_without_the_reason(
    plane: StreamingDataPlane, caplog: pytest.LogCaptureFixture
) -> None:
    class Unfit(Wire):
        def encode(self, response: InferenceResponse, raw: bool, model: MLModel | None) -> Message:
            raise TypeError(SECRET)

    logger = logging.getLogger("mlserver")
    logger.addHandler(caplog.handler)
    try:
        with pytest.raises(InternalError, match="'the-id'") as caught:
            async with Substreams(plane, Unfit()) as models:
                await models.put(to("a", "good", "the-id"))
    finally:
        logger.removeHandler(caplog.handler)
    assert SECRET not in str(caught.value)
    assert SECRET in caplog.text


@pytest.mark.parametrize("name", ["nope", ""])
async def test_an_unknown_model_is_404_where_it_is_all_that_was_asked(
    plane: StreamingDataPlane, name: str
) -> None:
    with pytest.raises(NoSuchModelError):
        async with Substreams(plane, Wire()) as models:
            await models.put(to(name, "x", "1"))


async def test_a_sole_request_that_fails_in_band_fails_with_its_status(
    plane: StreamingDataPlane,
) -> None:
    wire = Wire()
    with pytest.raises(RequestFailedError, match="failed") as caught:
        async with Substreams(plane, wire) as models:
            await models.put(to("a", "fail", "1"))
            await turns()
    assert caught.value.status_code == 422
    assert wire.written == []


async def test_the_first_of_several_requests_that_fails_in_band_fails_alone(
    plane: StreamingDataPlane,
) -> None:
    wire = Wire()
    async with Substreams(plane, wire) as models:
        await models.put(to("a", "fail", "1"))
        await turns()
        assert wire.written == []
        await models.put(to("a", "good", "2"))
    assert wire.written == [("1", "422 failed"), ("2", "good")]


async def test_a_client_that_waits_for_its_first_answer_is_told_of_the_failure(
    plane: StreamingDataPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(response_writer, "SOLE_REQUEST_SECONDS", 0.01)
    wire = Wire()
    async with Substreams(plane, wire) as models:
        await models.put(to("a", "fail", "1"))
        await wire.until(1)
        assert wire.written == [("1", "422 failed")]
        await models.put(to("a", "good", "2"))
    assert wire.written[1:] == [("2", "good")]


async def test_a_failure_after_an_answer_is_always_in_band(plane: StreamingDataPlane) -> None:
    wire = Wire()
    async with Substreams(plane, wire) as models:
        await models.put(to("a", "good", "1"))
        await models.put(to("a", "fail", "2"))
    assert wire.written == [("1", "good"), ("2", "422 failed")]


# -- failures beside another model are a request's own --


@pytest.mark.parametrize(
    ("text", "said"), [("refuse", "503 refused"), ("raise", "500 The service")]
)
async def test_a_model_that_fails_ends_its_own_requests_only(
    plane: StreamingDataPlane, text: str, said: str
) -> None:
    wire = Wire()
    async with Substreams(plane, wire) as models:
        await models.put(to("b", "before", "1"))
        await models.put(to("a", "good", "2"))
        await models.put(to("a", text, "3"))
        await wire.until(3)
        await models.put(to("b", "after", "4"))
    assert wire.of("1", "4") == [("1", "before"), ("4", "after")]
    assert wire.of("2") == [("2", "good")]
    ((_, answered),) = wire.of("3")
    assert answered.startswith(said)
    assert SECRET not in str(wire.written)
    assert len(wire.written) == 4


async def test_a_model_that_failed_is_asked_anew(plane: StreamingDataPlane) -> None:
    wire = Wire()
    async with Substreams(plane, wire) as models:
        await models.put(to("b", "other", "1"))
        await models.put(to("a", "refuse", "2"))
        await wire.until(2)
        await models.put(to("a", "good", "3"))
    assert wire.of("2", "3") == [("2", "503 refused"), ("3", "good")]


async def test_a_model_that_reads_nothing_fails_each_request_once(
    plane: StreamingDataPlane,
) -> None:
    wire = Wire()
    async with Substreams(plane, wire) as models:
        await models.put(to("b", "other", "0"))
        for number in range(1, 6):
            await models.put(to("refusing", "x", str(number)))
    assert sorted(wire.written) == [
        ("0", "other"),
        *((str(number), "503 refused at once") for number in range(1, 6)),
    ]


async def test_requests_that_wait_behind_one_that_breaks_the_model_are_all_answered(
    plane: StreamingDataPlane,
) -> None:
    wire = Wire()
    async with Substreams(plane, wire) as models:
        await models.put(to("b", "other", "0"))
        for number in range(1, 10):
            await models.put(to("a", "refuse", str(number)))
    assert sorted(id for id, _ in wire.written) == [str(number) for number in range(10)]


async def test_an_unknown_model_or_version_beside_another_is_that_request_s_own(
    plane: StreamingDataPlane,
) -> None:
    wire = Wire()
    async with Substreams(plane, wire) as models:
        await models.put(to("a", "good", "1"))
        await models.put(to("nope", "x", "2"))
        await models.put(to("a", "x", "3", version="9"))
        await models.put(to("a", "good", "4"))
    assert wire.of("1", "4") == [("1", "good"), ("4", "good")]
    assert [text[:3] for _, text in wire.of("2", "3")] == ["404", "404"]


async def test_a_malformed_message_is_a_status_first_and_its_own_error_later(
    plane: StreamingDataPlane,
) -> None:
    malformed = BadRequestError("malformed")
    with pytest.raises(BadRequestError):
        async with Substreams(plane, Wire()) as models:
            models.count()
            await models.fail("", "", malformed)
    wire = Wire()
    async with Substreams(plane, wire) as models:
        await models.put(to("a", "good", "1"))
        models.count()
        await models.fail("a", "2", malformed)
        await models.put(to("a", "good", "3"))
    assert sorted(wire.written) == [("1", "good"), ("2", "400 malformed"), ("3", "good")]


# -- a request with a `timeout` (microseconds) is a stream of its own --

LONG, SHORT = 60_000_000, 20_000


async def test_a_sole_request_that_is_late_fails_with_its_status(
    plane: StreamingDataPlane,
) -> None:
    wire = Wire()
    gated: Any = await plane.model("gated")
    with pytest.raises(DeadlineError, match=r"0\.02 s") as caught:
        async with Substreams(plane, wire) as models:
            await models.put(to("gated", "x", "1", timeout=SHORT))
    assert caught.value.status_code == 504
    assert gated.closed
    assert wire.written == []


async def test_a_request_that_is_late_ends_no_other(plane: StreamingDataPlane) -> None:
    wire = Wire()
    gated: Any = await plane.model("gated")
    async with Substreams(plane, wire) as models:
        await models.put(to("gated", "good", "1"))
        await models.put(to("gated", "good", "2", timeout=LONG))
        await models.put(to("gated", "late", "3", timeout=SHORT))
        await models.put(to("a", "good", "4"))
        await wire.until(2)
        gated.gate.set()
        await models.put(to("gated", "good", "5"))
    assert wire.of("3") == [("3", "504 The call was ended after 0.02 s, the longest it may last.")]
    assert sorted(wire.of("1", "2", "4", "5")) == [(id, "good") for id in "1245"]


async def test_a_client_that_waits_for_its_only_answer_is_told_that_it_is_late(
    plane: StreamingDataPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(response_writer, "SOLE_REQUEST_SECONDS", 0.01)
    wire = Wire()
    async with Substreams(plane, wire) as models:
        await models.put(to("gated", "late", "1", timeout=SHORT))
        await wire.until(1)
        assert wire.written[0][1].startswith("504 ")
        await models.put(to("a", "good", "2"))
    assert wire.written[1:] == [("2", "good")]


@pytest.mark.parametrize("timed", ["1111", "0111", "1011", "0101", "1010", "0001", "1110"])
async def test_a_model_meets_requests_in_the_order_of_the_wire(
    plane: StreamingDataPlane, timed: str
) -> None:
    wire = Wire()
    sequenced: Any = await plane.model("sequenced")
    async with Substreams(plane, wire) as models:
        for number, has in enumerate(timed):
            parameters = {"timeout": LONG} if has == "1" else {}
            await models.put(to("sequenced", str(number), str(number), **parameters))
    assert sequenced.met == list("0123")
    assert sorted(id for id, _ in wire.written) == list("0123")


async def test_the_time_to_reach_the_model_counts(plane: StreamingDataPlane) -> None:
    wire = Wire()
    sequenced: Any = await plane.model("sequenced")

    async def serve() -> None:
        async with Substreams(plane, wire) as models:
            await models.put(to("sequenced", "hang", "1"))
            await models.put(to("sequenced", "behind it", "2"))
            await models.put(to("sequenced", "never met", "3", timeout=SHORT))
            await asyncio.Event().wait()

    serving = asyncio.create_task(serve())
    await wire.until(1)
    assert sequenced.met == ["hang"]
    assert [(id, text[:3]) for id, text in wire.written] == [("3", "504")]
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving


async def test_streams_of_their_own_are_bounded(plane: StreamingDataPlane) -> None:
    wire = Wire()
    gated: Any = await plane.model("gated")
    bound = plane.streaming.limits.buffered_responses
    taken = 0
    async with Substreams(plane, wire) as models:

        async def send() -> None:
            nonlocal taken
            for number in range(2 * bound):
                await models.put(to("gated", "x", str(number), timeout=LONG))
                taken += 1

        sending = asyncio.create_task(send())
        await turns(100)
        assert (taken, gated.read) == (bound, bound)
        gated.gate.set()
        await sending
    assert len(wire.written) == 2 * bound


@pytest.mark.parametrize(
    ("text", "said"), [("refuse", "503 refused"), ("raise", "500 The service"), ("fail", "422 ")]
)
async def test_a_failure_in_a_stream_of_its_own_is_the_request_s_own(
    plane: StreamingDataPlane, text: str, said: str
) -> None:
    wire = Wire()
    async with Substreams(plane, wire) as models:
        await models.put(to("a", "good", "1"))
        await models.put(to("a", text, "2", timeout=LONG))
        await models.put(to("a", "good", "3", timeout=LONG))
    assert sorted(wire.of("1", "3")) == [("1", "good"), ("3", "good")]
    ((_, answered),) = wire.of("2")
    assert answered.startswith(said)
    assert SECRET not in str(wire.written)


async def test_a_model_that_ends_the_stream_waits_for_the_streams_beside_it(
    plane: StreamingDataPlane,
) -> None:
    wire = Wire()
    async with Substreams(plane, wire) as models:
        await models.put(to("a", "good", "1", timeout=LONG))
        await models.put(to("a", "end", "2"))
        await wire.until(2)
        await models.put(to("a", "good", "3"))
    assert sorted(wire.written) == [("1", "good"), ("2", "the end"), ("3", "good")]


async def test_a_timeout_that_is_none_fails_its_request(plane: StreamingDataPlane) -> None:
    with pytest.raises(BadRequestError, match="'timeout'"):
        async with Substreams(plane, Wire()) as models:
            await models.put(to("a", "x", "1", timeout="soon"))
    wire = Wire()
    async with Substreams(plane, wire) as models:
        await models.put(to("a", "good", "1"))
        await models.put(to("a", "x", "2", timeout="soon"))
        await models.put(to("nope", "x", "3", timeout=LONG))
    assert wire.of("1") == [("1", "good")]
    assert [text[:3] for _, text in wire.of("2", "3")] == ["400", "404"]


# -- ends and pace --


async def test_the_only_model_may_end_the_stream(plane: StreamingDataPlane) -> None:
    """As a language model does that has said all, while its client still listens."""
    wire = Wire()
    async with asyncio.timeout(10), Substreams(plane, wire) as models:
        await models.put(to("a", "end", "1"))
        await asyncio.Event().wait()  # the client keeps its side open
    assert wire.written == [("1", "the end")]


async def test_a_model_that_ends_beside_another_is_asked_anew(plane: StreamingDataPlane) -> None:
    wire = Wire()
    async with Substreams(plane, wire) as models:
        await models.put(to("b", "other", "1"))
        await models.put(to("a", "end", "2"))
        await wire.until(2)
        await models.put(to("a", "again", "3"))
        await models.put(to("b", "other", "4"))
    assert sorted(wire.written) == [
        ("1", "other"),
        ("2", "the end"),
        ("3", "again"),
        ("4", "other"),
    ]


async def test_requests_that_wait_behind_a_model_s_end_are_all_answered(
    plane: StreamingDataPlane,
) -> None:
    wire = Wire()
    async with Substreams(plane, wire) as models:
        await models.put(to("b", "other", "0"))
        for number in range(1, 10):
            await models.put(to("a", "end", str(number)))
    assert sorted(id for id, _ in wire.written) == [str(number) for number in range(10)]


async def test_a_busy_model_stops_the_reading_of_the_wire(plane: StreamingDataPlane) -> None:
    wire = Wire()
    gated: Any = await plane.model("gated")
    taken = 0
    async with Substreams(plane, wire) as models:

        async def send() -> None:
            nonlocal taken
            for number in range(10):
                await models.put(to("gated", "x", str(number)))
                taken += 1

        sending = asyncio.create_task(send())
        await turns(100)
        assert gated.read == 1
        assert taken == 1 + REQUESTS_AHEAD
        gated.gate.set()
        await sending
    assert [id for id, _ in wire.written] == [str(number) for number in range(10)]


async def test_a_client_that_does_not_read_stops_the_model(plane: StreamingDataPlane) -> None:
    written = 0

    class Unread(Wire):
        async def _write(self, message: Message) -> None:
            nonlocal written
            written += 1
            await asyncio.Event().wait()

    gated: Any = await plane.model("gated")
    gated.gate.set()

    async def serve() -> None:
        async with Substreams(plane, Unread()) as models:
            for number in range(10):
                await models.put(to("gated", "x", str(number)))

    serving = asyncio.create_task(serve())
    await turns(100)
    assert (written, gated.read) == (1, 1)
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving
    assert gated.closed


async def test_a_client_that_hangs_up_stops_every_model(plane: StreamingDataPlane) -> None:
    gated: Any = await plane.model("gated")

    async def serve() -> None:
        async with Substreams(plane, Wire()) as models:
            await models.put(to("gated", "x", "1"))
            await models.put(to("a", "x", "2"))
            await asyncio.Event().wait()

    serving = asyncio.create_task(serve())
    await turns()
    assert gated.read == 1
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving
    assert gated.closed
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_the_end_of_the_requests_waits_for_the_last_answers(
    plane: StreamingDataPlane,
) -> None:
    wire = Wire()
    gated: Any = await plane.model("gated")

    async def serve() -> None:
        async with Substreams(plane, wire) as models:
            await models.put(to("gated", "late", "1"))

    serving = asyncio.create_task(serve())
    await turns()
    assert not serving.done()
    gated.gate.set()
    await serving
    assert wire.written == [("1", "late")]
