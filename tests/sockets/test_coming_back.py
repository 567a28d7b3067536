"""Streams over sockets outlive them: who comes back gets the rest, each answer once, or is told."""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from mlserver import MLModel
from mlserver.types import InferenceRequest, InferenceResponse

from mlserver_streaming.access.callers import Caller, set_current
from mlserver_streaming.errors import MovedError
from mlserver_streaming.resume.run import MAX_READERS
from mlserver_streaming.streams.answers import One
from mlserver_streaming.streams.calls import REST
from mlserver_streaming.streams.data_plane import StreamingDataPlane
from tests.sockets.serving import PATIENCE, serving
from tests.sockets.test_sockets import connect as connect_to
from tests.sockets.test_sockets import heard, said, v2
from tests.streams.planes import answer, ask, asked, plane_of

N = 51


class Counts(MLModel):
    """Counts as far as it is told; then it waits, where it is told to."""

    async def load(self) -> bool:
        self.begun = self.closed = 0
        self.read: list[str] = []
        return True

    async def predict_stream(
        self, payloads: AsyncIterator[InferenceRequest]
    ) -> AsyncIterator[InferenceResponse]:
        self.begun += 1
        try:
            async for request in payloads:
                given: Any = asked(request)
                text = given.decode() if isinstance(given, bytes) else given
                count, _, then = text.partition(" ")
                self.read.append(count)
                for number in range(1, int(count) + 1):
                    yield answer(str(number))
                if then == "waits":
                    await asyncio.Event().wait()
                if then == "ends":
                    return
        finally:
            self.closed += 1


class Large(MLModel):
    """Three answers of half of what is kept of a stream."""

    async def predict_stream(
        self, payloads: AsyncIterator[InferenceRequest]
    ) -> AsyncIterator[InferenceResponse]:
        async for _ in payloads:
            for number in range(1, 4):
                yield answer(str(number) + "x" * 40_000)


@pytest.fixture
async def plane(tmp_path: Path) -> AsyncIterator[StreamingDataPlane]:
    block = {"resume": {"bytes": 65536}}
    (tmp_path / "settings.json").write_bytes(orjson.dumps({"streaming": block}))
    async with plane_of(tmp_path, {"m": Counts, "other": Counts, "large": Large}) as served:
        yield served


@pytest.fixture
async def port(plane: StreamingDataPlane) -> AsyncIterator[int]:
    async with serving(plane, message_bytes=2**20) as port:
        yield port


@pytest.fixture
async def model(plane: StreamingDataPlane) -> Any:
    return await plane.model("m")


def connect(port: int, model: str = "m") -> Any:
    return connect_to(port, model)


def count(what: str, id: str = "1", **more: Any) -> str:
    return v2(what, id, parameters={"resumable": True}, **more)


def own(what: str, id: str = "1", **more: Any) -> str:
    return count(what, id, own_stream=True, **more)


def back(place: str, id: str = "1") -> str:
    return json.dumps({"resume": place, "id": id})


def place(message: Any) -> str:
    return (message.get("parameters") or message)["resume_id"]


def refusal(message: Any) -> tuple[int, str]:
    """An error's code and its text, flat or not."""
    told = message.get("parameters") or message
    return told["error_code"], told["error"]


def places(messages: list[Any]) -> list[int]:
    return [int(place(each).rpartition(".")[2]) for each in messages]


async def to_the_end(socket: Any) -> list[Any]:
    """Messages up to a final."""
    found = []
    while not (message := (await heard(socket))[0]).get("final"):
        found.append(message)
    return found


async def until(is_so: Any) -> None:
    async with asyncio.timeout(PATIENCE):
        while not is_so():  # noqa: ASYNC110 a model has no event for it
            await asyncio.sleep(0.01)


async def test_a_socket_cut_after_each_answer_loses_and_repeats_none(port: int, model: Any):
    async with connect(port) as socket:
        await socket.send(own(f"{N}"))
        found = await heard(socket)
        socket.transport.abort()
    assert found[0]["parameters"]["resume_seconds"] == 60
    stream = place(found[0]).partition(".")[0]
    while len(found) < N:
        # On the socket of another model, too.
        async with connect(port, "other" if len(found) % 2 else "m") as socket:
            await socket.send(back(place(found[-1])))
            found += await heard(socket)
            socket.transport.abort()
    assert [place(each) for each in found] == [f"{stream}.{n}" for n in range(1, N + 1)]
    assert [said(each) for each in found] == [("1", str(n)) for n in range(1, N + 1)]
    async with connect(port) as socket:
        await socket.send(back(place(found[-1]), "again"))
        assert await heard(socket) == [{"id": "again", "final": True}]
    assert model.begun == 1


async def test_streams_of_one_socket_come_back_each_by_itself(port: int, plane: Any):
    async with connect(port) as socket:
        await socket.send(own("3 waits", "a"))
        await socket.send(json.dumps({"id": "b", "text_input": "3", "resumable": True}))
        await socket.send(own("2", "c", model_name="other"))
        await socket.send(v2("1", "d", own_stream=True))
        found = [each for each in await heard(socket, 11) if not each.get("final")]
    by_id = {id: [each for each in found if each["id"] == id] for id in "abcd"}
    assert [len(by_id[id]) for id in "abcd"] == [3, 3, 2, 1]
    assert "resume_id" not in str(by_id["d"])
    assert len({place(each).partition(".")[0] for each in found[:-1] if each["id"] != "d"}) == 3
    async with connect(port) as socket:
        for id in "bca":
            # What is flat comes back flat; the id is for the rest as a whole.
            await socket.send(back(place(by_id[id][0]), f"rest of {id}"))
        rest = await heard(socket, 7)
        for id in "abc":
            assert [each for each in rest if each.get("id") == id] == by_id[id][1:]
        assert sorted(each["id"] for each in rest if each.get("final")) == [
            "rest of b",
            "rest of c",
        ]


async def test_requests_of_one_model_are_one_stream_as_far_as_it_read_them(port: int, model: Any):
    async with connect(port) as socket:
        await socket.send(count("2", "a"))
        await socket.send(v2("2", "b"))  # the wish of the first is that of all
        found = await heard(socket, 4)
        await socket.send(count("1 ends", "c"))
        found += await heard(socket)
        # The model has ended that stream: this one is another.
        await socket.send(count("1", "d"))
        [other] = await heard(socket)
    assert places(found) == [1, 2, 3, 4, 5]
    assert places([other]) == [1]
    await until(lambda: model.closed == 2)  # no more requests can come
    async with connect(port) as socket:
        await socket.send(json.dumps({"resume": place(found[1])}))
        rest = await to_the_end(socket)
        assert [said(each) for each in rest] == [("b", "1"), ("b", "2"), ("c", "1")]
    assert model.begun == 2


@pytest.mark.parametrize(
    ("message", "code", "text"),
    [
        ({"resume": "{}.9"}, 400, "Response 9 of this stream is not there yet: the last is 2"),
        ({"resume": "{}"}, 400, "is no place in a stream"),
        ({"resume": "no\u2028where"}, 400, "is no place in a stream"),
        ({"resume": "unknown-stream.1"}, 404, "You have no stream 'unknown-stream' here"),
        ({"resume": 3}, 400, "must be the id of the last response that you have"),
        ({"resume": "{}.1", "id": 3}, 400, "must be the id of the last response that you have"),
        ({"resume": "{}.1", "delay": 0}, 400, "has neither 'text_input' nor"),
    ],
)
async def test_a_place_that_there_is_not_costs_that_stream_only(
    port: int, message: dict[str, Any], code: int, text: str
):
    async with connect(port) as socket:
        await socket.send(own("2"))
        stream = place((await heard(socket, 3))[0]).partition(".")[0]
        given = message["resume"]
        named = given.replace("{}", stream) if isinstance(given, str) else given
        await socket.send(json.dumps({**message, "resume": named}))
        [told] = await heard(socket)
        assert refusal(told)[0] == code
        assert text in refusal(told)[1]
        if "delay" not in message:
            assert (await heard(socket))[0]["final"] is True
        await socket.send(own("1", "after"))
        assert said((await heard(socket))[0]) == ("after", "1")


async def test_who_has_not_what_is_kept_no_more_is_told_where_to_begin(port: int, plane: Any):
    async with connect(port, "large") as socket:
        await socket.send(own("1"))
        found = await to_the_end(socket)
    assert places(found) == [1, 2, 3]
    stream = place(found[0]).partition(".")[0]
    assert plane.resume._runs[stream].log.first > 1
    async with connect(port, "large") as socket:
        await socket.send(back(f"{stream}.0"))
        [told, final] = await heard(socket, 2)
        assert refusal(told)[0] == 410
        assert "can be read from response" in refusal(told)[1]
        assert final == {"id": "1", "final": True}


async def test_another_callers_stream_is_not_there_and_a_forgotten_one_neither(
    port: int, plane: StreamingDataPlane
):
    async def begin() -> Any:
        set_current(Caller("somebody else", frozenset(), None))
        request = ask("3")
        async with plane.calls.open(REST, {}) as call:
            model = await plane.model("m")
            return plane.resume.begin(One(request), request, model, None, call.hand_over)

    theirs = await asyncio.create_task(begin())
    async with connect(port) as socket:
        await socket.send(back(f"{theirs.head.id}.0"))
        told, _ = await heard(socket, 2)
        assert refusal(told)[0] == 404
        assert "You have no stream" in refusal(told)[1]
        await socket.send(own("2", "mine"))
        [first, *_] = await heard(socket, 3)
        plane.resume._runs[place(first).partition(".")[0]].forget()
        await socket.send(back(place(first), "gone"))
        told, final = await heard(socket, 2)
        assert (told["id"], refusal(told)[0], final["id"]) == ("gone", 404, "gone")


async def test_a_cancel_ends_the_run_for_all_its_readers_and_a_close_does_not(
    port: int, model: Any, plane: StreamingDataPlane
):
    async with connect(port) as socket:
        await socket.send(own("2 waits"))
        first, _ = await heard(socket, 2)
    async with connect(port) as one, connect(port) as other:
        await one.send(back(place(first), "x"))
        await other.send(back(place(first), "y"))
        assert [said(each[0]) for each in (await heard(one), await heard(other))] == [
            ("1", "2")
        ] * 2
        assert model.closed == 0
        await one.send(json.dumps({"cancel": "x"}))
        told, final = await heard(one, 2)
        assert (told["id"], refusal(told)[0], final["id"]) == ("x", 499, "x")
        told, final = await heard(other, 2)
        assert refusal(told)[1] == "This stream was cancelled by its caller."
        await until(lambda: model.closed == 1)
        await one.send(back(place(first), "z"))
        assert refusal((await heard(one, 2))[0])[0] == 404
        # And so does a cancel where it began, of a stream in common too.
        for ask_for, closed in ((own, 2), (count, 3)):
            await one.send(ask_for("1 waits", "begun here"))
            await heard(one)
            await one.send(json.dumps({"cancel": "begun here"}))
            assert refusal((await heard(one))[0])[0] == 499
            await until(lambda closed=closed: model.closed == closed)
            if ask_for is own:
                await heard(one)
    assert not plane.resume._runs


@pytest.mark.parametrize("is_there", [True, False])
async def test_a_cancel_right_behind_coming_back_ends_the_run(
    port: int, model: Any, plane: StreamingDataPlane, monkeypatch: Any, is_there: bool
):
    looking, find = asyncio.Event(), plane.resume.find

    async def slow(stream: str) -> Any:
        if not looking.is_set():
            looking.set()
            await asyncio.Event().wait()  # a store that takes its time
        return await find(stream)

    async with connect(port) as socket:
        await socket.send(own("2 waits"))
        first, _ = await heard(socket, 2)
        monkeypatch.setattr(plane.resume, "find", slow)
        await socket.send(back(place(first) if is_there else "unknown.1", "x"))
        await socket.send(json.dumps({"cancel": "x"}))
        told, final = await heard(socket, 2)
        assert (told["id"], refusal(told)[0], final["id"]) == ("x", 499 if is_there else 404, "x")
        assert looking.is_set()
        if is_there:
            assert "cancelled by its caller" in refusal((await heard(socket))[0])[1]
            await until(lambda: model.closed == 1)


async def test_who_reads_a_stream_that_goes_on_elsewhere_is_told_to_come_back(
    port: int, plane: StreamingDataPlane
):
    async with connect(port) as socket:
        await socket.send(own("1 waits"))
        [first] = await heard(socket)
        plane.resume._runs[place(first).partition(".")[0]].stop(MovedError())
        told, final = await heard(socket, 2)
        assert refusal(told)[0] == 503
        assert "goes on elsewhere" in refusal(told)[1]
        assert final == {"id": "1", "final": True}


async def test_as_many_read_one_stream_as_may(port: int):
    async with connect(port) as socket, connect(port) as second:
        await socket.send(own("1 waits"))
        [first] = await heard(socket)
        for number in range(MAX_READERS - 1):
            await second.send(back(place(first)[:-1] + "0", str(number)))
            assert said((await heard(second))[0]) == ("1", "1")
        await socket.send(back(place(first), "too many"))
        told, _ = await heard(socket, 2)
        assert (told["id"], refusal(told)[0]) == ("too many", 429)


async def test_outputs_that_were_wanted_as_bytes_come_back_as_bytes(port: int):
    request = {"id": "1", "inputs": [{"name": "x", "datatype": "BYTES", "shape": [1]}]}
    request["inputs"][0]["parameters"] = {"binary_data_size": 5}
    request["parameters"] = {"binary_data_output": True, "resumable": True}
    head = json.dumps({**request, "own_stream": True}).encode()
    async with connect(port) as socket:
        await socket.send(struct.pack("<I", len(head)) + head + struct.pack("<I", 1) + b"3")
        found = [await asyncio.wait_for(socket.recv(), PATIENCE) for _ in range(4)]
    (length,) = struct.unpack_from("<I", found[0])
    at = json.loads(found[0][4 : 4 + length])["parameters"]["resume_id"]
    async with connect(port) as socket:
        await socket.send(back(at))
        for message in found[1:]:
            assert await asyncio.wait_for(socket.recv(), PATIENCE) == message


@pytest.mark.parametrize("of", ["the model", "the service"])
async def test_the_wish_may_be_the_models_or_the_services(tmp_path: Path, of: str):
    extra = {"resumable": True} if of == "the model" else None
    block = {"resume": {"always": of == "the service"}}
    (tmp_path / "settings.json").write_bytes(orjson.dumps({"streaming": block}))
    async with (
        plane_of(tmp_path, {"m": Counts}, extra=extra) as plane,
        serving(plane) as port,
        connect(port) as socket,
    ):
        await socket.send(v2("1", "a"))
        await socket.send(v2("1", "b", own_stream=True, parameters={"resumable": False}))
        found = await heard(socket, 3)
        by_id = {each["id"]: each for each in found if not each.get("final")}
        assert places([by_id["a"]]) == [1]
        assert not by_id["b"].get("parameters")
        await socket.send(v2("1", "c", own_stream=True, parameters={"resumable": "yes"}))
        found = await heard(socket, 2)
        assert said(found[0]) == ("c", 400)
