"""A connection that outlives its models' streams: failures are answers, requests are cancelled."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from mlserver import MLModel
from mlserver.types import InferenceRequest, InferenceResponse

from mlserver_streaming.rpc.outbox import Outbox
from mlserver_streaming.streams.data_plane import StreamingDataPlane
from mlserver_streaming.streams.recent_requests import KEPT
from mlserver_streaming.streams.substreams import Substreams
from mlserver_streaming.streams.turnstile import Turnstile
from tests.streams.planes import answer, asked, plane_of
from tests.streams.test_substreams import Echo, to, turns

CANCELLED = "499 The request was cancelled by its caller."


class Gated(MLModel):
    """Says each request twice, the second time when its gate is open; knows what it met."""

    async def load(self) -> bool:
        self.gate = asyncio.Event()
        self.met: list[list[str]] = []
        self.closed = 0
        return True

    async def predict_stream(
        self, payloads: AsyncIterator[InferenceRequest]
    ) -> AsyncIterator[InferenceResponse]:
        met: list[str] = []
        self.met.append(met)
        try:
            async for request in payloads:
                met.append(asked(request))
                yield answer(met[-1])
                await self.gate.wait()
                yield answer(met[-1])
        finally:
            self.closed += 1


class Wire:
    """What was written: (id, text, error or "final"), and in which form."""

    def __init__(self) -> None:
        self.written: list[tuple[str | None, str]] = []
        self.forms: list[Any] = []
        self.changed = asyncio.Event()
        self._lock = asyncio.Lock()

    def encode(self, response: InferenceResponse, form: Any, model: MLModel | None) -> Any:
        said = [element for output in response.outputs for element in output.data.root]
        extra = (response.parameters and response.parameters.model_extra) or {}
        self.forms.append(form)
        return response.id, said[0] if said else f"{extra['error_code']} {extra['error']}"

    def final(self, request_id: str) -> Any:
        return request_id, "final"

    def outbox(self, model: MLModel | None) -> Outbox:
        return Outbox(self._write, self._lock, Turnstile(), 16)

    async def _write(self, message: Any) -> None:
        self.written.append(message)
        self.changed.set()

    async def until(self, count: int) -> None:
        async with asyncio.timeout(10):
            while len(self.written) < count:
                self.changed.clear()
                await self.changed.wait()


@pytest.fixture
async def plane(tmp_path: Path) -> AsyncIterator[StreamingDataPlane]:
    async with plane_of(tmp_path, {"a": Echo, "gated": Gated}) as served:
        yield served


def lasting(plane: StreamingDataPlane, wire: Wire) -> Substreams:
    return Substreams(plane, wire, lasting=True)


@pytest.mark.parametrize("text", ["refuse", "fail"])
async def test_the_only_request_s_failure_is_its_answer(
    plane: StreamingDataPlane, text: str
) -> None:
    wire = Wire()
    async with lasting(plane, wire) as models:
        await models.put(to("a", text, "1"))
        await wire.until(1)
        await models.put(to("a", "good", "2"))
        await wire.until(2)
        await models.put(to("nope", "x", "3"))
    assert wire.written[0][1][:3] in ("503", "422")
    assert wire.written[1] == ("2", "good")
    assert wire.written[2][1].startswith("404 ")


async def test_a_model_that_ends_does_not_end_the_connection(plane: StreamingDataPlane) -> None:
    wire = Wire()
    async with lasting(plane, wire) as models:
        await models.put(to("a", "end", "1"))
        await wire.until(1)
        await turns()
        await models.put(to("a", "good", "2"))
    assert wire.written == [("1", "the end"), ("2", "good")]


async def test_each_answer_has_its_request_s_form(plane: StreamingDataPlane) -> None:
    wire = Wire()
    async with lasting(plane, wire) as models:
        await models.put(to("a", "x", "1", raw=True))
        await models.put(to("a", "x", "2"))
        await models.put(to("a", "refuse", "3", raw=True))
    assert wire.forms == [True, False, True]


async def test_only_recent_requests_are_remembered(plane: StreamingDataPlane) -> None:
    wire = Wire()
    async with lasting(plane, wire) as models:
        for number in range(KEPT + 2):
            await models.put(to("a", "x", str(number)))
        await wire.until(KEPT + 2)
        assert models._recent is not None
        assert len(models._recent._found) == KEPT
        await models.cancel("0")
        await models.cancel(str(KEPT + 1))
    assert wire.written[KEPT + 2 :] == [(str(KEPT + 1), CANCELLED)]


# -- streams of their own --


@pytest.mark.parametrize("text", ["good", "fail", "refuse"])
async def test_a_stream_of_its_own_says_when_it_is_over(
    plane: StreamingDataPlane, text: str
) -> None:
    wire = Wire()
    async with lasting(plane, wire) as models:
        await models.put(to("a", text, "1"), own=True)
    assert [id for id, _ in wire.written] == ["1", "1"]
    assert wire.written[-1] == ("1", "final")


async def test_an_unknown_model_s_own_stream_is_over_too(plane: StreamingDataPlane) -> None:
    wire = Wire()
    async with lasting(plane, wire) as models:
        await models.put(to("nope", "x", "1"), own=True)
    assert wire.written[0][1].startswith("404 ")
    assert wire.written[1:] == [("1", "final")]


async def test_a_stream_of_its_own_waits_for_no_other(plane: StreamingDataPlane) -> None:
    wire = Wire()
    gated: Any = await plane.model("gated")
    async with lasting(plane, wire) as models:
        await models.put(to("gated", "slow", "1"))
        await models.put(to("gated", "own", "2"), own=True)
        await wire.until(2)
        gated.gate.set()
    assert gated.met == [["slow"], ["own"]] or gated.met == [["own"], ["slow"]]
    assert len(wire.written) == 5


async def test_a_stream_of_its_own_is_cancelled(plane: StreamingDataPlane) -> None:
    wire = Wire()
    gated: Any = await plane.model("gated")
    async with lasting(plane, wire) as models:
        await models.put(to("gated", "x", "1"), own=True)
        await models.put(to("gated", "y", "2"), own=True)
        await wire.until(2)
        await models.cancel("1")
        await wire.until(4)
        assert gated.closed == 1
        gated.gate.set()
        await wire.until(6)
        await models.cancel("2")
    assert wire.written[2:] == [("1", CANCELLED), ("1", "final"), ("2", "y"), ("2", "final")]


async def test_one_that_has_not_begun_is_cancelled(plane: StreamingDataPlane) -> None:
    wire = Wire()
    gated: Any = await plane.model("gated")
    bound = plane.streaming.limits.buffered_responses
    async with lasting(plane, wire) as models:
        for number in range(bound):
            await models.put(to("gated", "x", str(number)), own=True)
        putting = asyncio.create_task(models.put(to("gated", "late", "late"), own=True))
        await wire.until(bound)
        await turns()
        await models.cancel("late")
        await putting
        gated.gate.set()
    assert [text for id, text in wire.written if id == "late"] == [CANCELLED, "final"]
    assert ["late"] not in gated.met


# -- the common stream --


async def test_a_request_that_waits_is_taken_out(plane: StreamingDataPlane) -> None:
    wire = Wire()
    gated: Any = await plane.model("gated")
    async with lasting(plane, wire) as models:
        for id in "123":
            await models.put(to("gated", id, id))
        await wire.until(1)
        await models.cancel("2")
        await models.cancel("2")
        gated.gate.set()
    assert gated.met == [["1", "3"]]
    assert wire.written[1] == ("2", CANCELLED)
    assert [each for each in wire.written if each[0] != "2"] == [(id, id) for id in "1133"]


async def test_the_only_one_that_was_met_stops_the_model(plane: StreamingDataPlane) -> None:
    wire = Wire()
    gated: Any = await plane.model("gated")
    async with lasting(plane, wire) as models:
        await models.put(to("gated", "1", "1"))
        await models.put(to("gated", "2", "2"))
        await wire.until(1)
        await models.cancel("1")
        await wire.until(3)
        assert gated.closed == 1
        gated.gate.set()
    assert gated.met == [["1"], ["2"]]
    assert wire.written == [("1", "1"), ("1", CANCELLED), ("2", "2"), ("2", "2")]


async def test_one_of_several_that_were_met_is_silenced(plane: StreamingDataPlane) -> None:
    wire = Wire()
    gated: Any = await plane.model("gated")
    gated.gate.set()
    async with lasting(plane, wire) as models:
        await models.put(to("gated", "1", "1"))
        await wire.until(2)
        gated.gate.clear()
        await models.put(to("gated", "2", "2"))
        await wire.until(3)
        await models.cancel("2")
        gated.gate.set()
        await models.put(to("gated", "3", "3"))
    assert gated.met == [["1", "2", "3"]]
    ids = [id for id, _ in wire.written]
    assert ids == ["1", "1", "2", "2", "3", "3"]
    assert wire.written[3] == ("2", CANCELLED)


async def test_what_is_unknown_or_over_is_left_alone(plane: StreamingDataPlane) -> None:
    wire = Wire()
    async with lasting(plane, wire) as models:
        await models.put(to("a", "end", "1"))
        await models.put(to("a", "x", "own"), own=True)
        await wire.until(3)
        await turns()
        for id in ("1", "own", "nobody", ""):
            await models.cancel(id)
    assert sorted(wire.written) == [("1", "the end"), ("own", "final"), ("own", "x")]


async def test_the_end_of_the_connection_is_no_cancelling(plane: StreamingDataPlane) -> None:
    wire = Wire()
    gated: Any = await plane.model("gated")

    async def serve() -> None:
        async with lasting(plane, wire) as models:
            await models.put(to("gated", "1", "1"))
            await models.put(to("gated", "2", "2"), own=True)
            await asyncio.Event().wait()

    serving = asyncio.create_task(serve())
    await wire.until(2)
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving
    assert gated.closed == 2
    assert len(wire.written) == 2
