"""Sockets over a data plane of the test's own models: what a client sees, well-behaved or not."""

from __future__ import annotations

import asyncio
import json
import struct
import zlib
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import websockets
from mlserver import MLModel
from mlserver.types import InferenceRequest, InferenceResponse
from websockets.server import ServerProtocol

from mlserver_streaming.errors import IdleError
from mlserver_streaming.rest import websocket_protocol
from mlserver_streaming.rest.messages_ahead import MessagesAhead
from mlserver_streaming.rest.websocket_connection import FRAME_BYTES
from mlserver_streaming.rest.websocket_protocol import WebSocketProtocol
from mlserver_streaming.settings import LimitSettings
from mlserver_streaming.streams import room as of_rooms
from mlserver_streaming.streams import turns
from mlserver_streaming.streams.data_plane import StreamingDataPlane
from mlserver_streaming.streams.room import RequestRoom, Room
from tests.sockets.serving import BINARY, CLOSE, CONT, PING, PONG, TEXT, frame, raw, serving
from tests.streams.planes import answer, asked, plane_of
from tests.streams.test_substreams import Echo

PATIENCE = 20
LARGE = 8 * 1024 * 1024


class Gated(MLModel):
    """Answers when its gate is open."""

    async def load(self) -> bool:
        self.gate = asyncio.Event()
        self.read = self.closed = 0
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
            self.closed += 1


class Endless(MLModel):
    """Answers a request for ever; counts what it said, and its ends."""

    async def load(self) -> bool:
        self.said = self.closed = 0
        return True

    async def predict_stream(
        self, payloads: AsyncIterator[InferenceRequest]
    ) -> AsyncIterator[InferenceResponse]:
        try:
            async for _ in payloads:
                while True:
                    self.said += 1
                    yield answer("x" * 10_000)
        finally:
            self.closed += 1


MODELS = {"a": Echo, "b": Echo, "gated": Gated, "endless": Endless}


@pytest.fixture
async def plane(tmp_path: Path) -> AsyncIterator[StreamingDataPlane]:
    async with plane_of(tmp_path, MODELS) as served:
        yield served


@pytest.fixture
async def port(plane: StreamingDataPlane) -> AsyncIterator[int]:
    async with serving(plane, message_bytes=LARGE) as port:
        yield port


def _deflated(data: bytes) -> bytes:
    """A message's bytes, as RFC 7692 has them (7.2.1)."""
    packing = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    packed = packing.compress(data) + packing.flush(zlib.Z_SYNC_FLUSH)
    return packed.removesuffix(b"\0\0\xff\xff")


def connect(port: int, model: str = "a", **arguments: Any) -> Any:
    uri = f"ws://127.0.0.1:{port}/v2/models/{model}/stream"
    return websockets.connect(uri, compression=None, **arguments)


def v2(text: str, id: str = "1", **more: Any) -> str:
    tensor = {"name": "x", "datatype": "BYTES", "shape": [1], "data": [text]}
    return json.dumps({"id": id, "inputs": [tensor], **more})


async def heard(socket: Any, count: int = 1) -> list[Any]:
    """So many messages, without what comes once a stream."""
    found = []
    async with asyncio.timeout(PATIENCE):
        for _ in range(count):
            message = json.loads(await socket.recv())
            (message.get("parameters") or {}).pop("headers", None)
            found.append(message)
    return found


def said(message: Any) -> Any:
    """(id, text or error code)."""
    if message["outputs"]:
        return message["id"], message["outputs"][0]["data"][0]
    return message.get("id", ""), message["parameters"]["error_code"]


async def until(there: Any) -> None:
    async with asyncio.timeout(PATIENCE):
        while not there():  # noqa: ASYNC110 a model has no event for it
            await asyncio.sleep(0.01)


async def until_still(value: Callable[[], int]) -> None:
    """Until something has not changed for some rounds of the loop and a while."""
    seen: list[int] = []
    async with asyncio.timeout(PATIENCE):
        while len(seen) < 20 or len(set(seen[-20:])) > 1:
            await asyncio.sleep(0.01)
            seen.append(value())


# -- requests and answers --


async def test_answers_come_in_the_requests_own_form(port: int) -> None:
    async with connect(port, subprotocols=["other", "v2.stream"]) as socket:
        assert socket.subprotocol == "v2.stream"
        await socket.send(v2("one"))
        assert said((await heard(socket))[0]) == ("1", "one")
        await socket.send(json.dumps({"id": "2", "text_input": "two"}))
        (flat,) = await heard(socket)
        assert flat["id"], flat["text_output"] == ("2", "two")
        head = {
            "id": "3",
            "parameters": {"binary_data_output": True},
            "inputs": [
                {
                    "name": "x",
                    "datatype": "BYTES",
                    "shape": [1],
                    "parameters": {"binary_data_size": 9},
                }
            ],
        }
        encoded = json.dumps(head).encode()
        element = struct.pack("<I", 5) + b"three"
        await socket.send(struct.pack("<I", len(encoded)) + encoded + element)
        message = await socket.recv()
        (length,) = struct.unpack("<I", message[:4])
        assert json.loads(message[4 : 4 + length])["id"] == "3"
        assert message[4 + length :] == element


async def test_several_models_and_streams_of_their_own(port: int) -> None:
    async with connect(port) as socket:
        await socket.send(v2("one", "1", model_name="b"))
        await socket.send(v2("two", "2", own_stream=True))
        found = await heard(socket, 3)
        assert {said(each) for each in found if "final" not in each} == {("1", "one"), ("2", "two")}
        assert [each for each in found if "final" in each] == [{"id": "2", "final": True}]


@pytest.mark.parametrize(
    ("message", "failed"),
    [
        ("no json", ("", 400)),
        (b"\x01", ("", 400)),
        ("[]", ("", 400)),
        (v2("x", model_name="nope"), ("1", 404)),
        (v2("x", model_version="9"), ("1", 404)),
        (v2("x", own_stream=1), ("1", 400)),
        (v2("x", model_name=1), ("1", 400)),
        (v2("x", parameters={"timeout": "soon"}), ("1", 400)),
        (json.dumps({"id": "1", "inputs": 1}), ("1", 400)),
        (json.dumps({"cancel": 1}), ("", 400)),
        (v2("refuse"), ("1", 503)),
        (v2("fail"), ("1", 422)),
        (v2("raise"), ("1", 500)),
    ],
)
async def test_a_failed_request_is_an_answer(port: int, message: Any, failed: Any) -> None:
    async with connect(port) as socket:
        await socket.send(message)
        (found,) = await heard(socket)
        assert said(found) == failed
        assert "secret" not in found["parameters"]["error"]
        await socket.send(v2("good", "2"))
        assert said((await heard(socket))[0]) == ("2", "good")


async def test_the_end_waits_for_answers_and_heeds_a_cancel(
    plane: StreamingDataPlane, port: int
) -> None:
    gated: Any = await plane.model("gated")
    async with connect(port, "gated") as socket:
        await socket.send(v2("x", "1", own_stream=True))
        await socket.send(v2("y", "2", own_stream=True))
        await socket.send(json.dumps({"end": True}))
        await socket.send(json.dumps({"cancel": "1"}))
        cancelled, final = await heard(socket, 2)
        assert (said(cancelled), final["id"]) == (("1", 499), "1")
        await socket.send(v2("late", "3"))
        assert said((await heard(socket))[0]) == ("3", 400)
        gated.gate.set()
        assert said((await heard(socket, 2))[0]) == ("2", "y")
        async with asyncio.timeout(PATIENCE):
            await socket.wait_closed()
        assert (socket.close_code, socket.close_reason) == (1000, "All requests are answered.")


async def test_compressed_only_when_asked(port: int) -> None:
    uri = f"ws://127.0.0.1:{port}/v2/models/a/stream"
    async with websockets.connect(uri) as socket:
        assert "permessage-deflate" in socket.response.headers["Sec-WebSocket-Extensions"]
        for number, text in enumerate(("word", "word " * 1000, "word " * 100_000, "word")):
            await socket.send(v2(text, str(number)))
            assert said((await heard(socket))[0]) == (str(number), text)
        with pytest.raises(websockets.ConnectionClosedError, match=r"1009 .* send less"):
            await socket.send(v2("x" * 9 * 1024 * 1024))
            await socket.recv()
    async with connect(port) as socket:
        assert "Sec-WebSocket-Extensions" not in socket.response.headers


async def test_a_large_message_each_way(port: int) -> None:
    async with connect(port, max_size=None) as socket:
        text = "é" * (LARGE // 8)
        await socket.send(v2(text))
        assert said((await heard(socket))[0]) == ("1", text)


# -- before the upgrade --


async def test_an_unknown_model_is_a_status(port: int) -> None:
    with pytest.raises(websockets.InvalidStatus) as caught:
        async with connect(port, "nope"):
            pass
    response = caught.value.response
    assert response.status_code == 404
    assert json.loads(response.body) == {
        "error": "There is no model 'nope' here; POST /v2/repository/index lists what is served."
    }


async def test_a_target_may_be_a_url(port: int) -> None:
    """https://www.rfc-editor.org/rfc/rfc9112#section-3.2.2"""
    async with raw(port, "a", base="http://elsewhere:1") as connection:
        assert connection.status == 101
        connection.send(frame(TEXT, v2("x").encode()))
        assert said(json.loads((await connection.frame())[1])) == ("1", "x")


async def test_a_service_that_drains_takes_no_socket(plane: StreamingDataPlane, port: int) -> None:
    await plane.calls.drain(1)
    with pytest.raises(websockets.InvalidStatus) as caught:
        async with connect(port):
            pass
    assert caught.value.response.status_code == 503


@pytest.mark.parametrize(
    ("headers", "replaced", "status"),
    [
        ((), {"Sec_WebSocket_Key": ""}, 400),
        ((), {"Sec_WebSocket_Version": "8"}, 400),
        ((), {"Host": "a b"}, 400),
        (tuple(f"x-{n}: 1" for n in range(200)), {}, 431),
        (("x: " + "y" * 9000,), {}, 431),
        (("Content-Length: 3",), {}, 400),
    ],
)
async def test_a_request_that_is_no_upgrade(
    port: int, headers: tuple[str, ...], replaced: dict[str, str], status: int
) -> None:
    async with raw(port, "a", *headers, **replaced) as connection:
        assert connection.status == status
        assert b"content-type: application/json" in connection.head.lower()
        assert "error" in json.loads(await connection.reader.read())


# -- frames --


def named(value: Any) -> str | None:
    """A case's name: a frame's mask is another each time."""
    return "frames" if isinstance(value, bytes) else None


async def test_a_message_in_fragments_with_a_ping_between(port: int) -> None:
    data = v2("x").encode()
    async with raw(port, "a") as connection:
        connection.send(frame(TEXT, data[:5], fin=False), frame(PING, b"p"), frame(CONT, fin=False))
        connection.send(frame(CONT, data[5:]))
        assert await connection.frame() == (PONG, b"p")
        opcode, answered = await connection.frame()
        assert (opcode, said(json.loads(answered))) == (TEXT, ("1", "x"))


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (frame(TEXT, b"{}", mask=False), 1002),
        (frame(3, b"{}"), 1002),
        (frame(TEXT, b"{}", rsv=0x40), 1002),
        (frame(CONT, b"{}"), 1002),
        (frame(TEXT, b"{", fin=False) + frame(TEXT, b"}"), 1002),
        (frame(PING, b"x" * 126), 1002),
        (frame(PING, b"x", fin=False), 1002),
        (frame(CLOSE, b"x"), 1002),
        (frame(CLOSE, struct.pack("!H", 1005)), 1002),
        (frame(TEXT, b'{"id": "\xff"}'), 1007),
        (frame(TEXT, b"\xc3", fin=False) + frame(CONT, b"\x28"), 1007),
        (frame(BINARY, b"begin", length=2**30), 1009),
        (frame(BINARY, b"", length=2**62), 1009),
        (frame(BINARY, b"x" * 1024, fin=False) + frame(CONT, b"x", length=LARGE), 1009),
        (frame(CLOSE, struct.pack("!H", 1000)), 1000),
    ],
    ids=named,
)
async def test_what_is_no_frame_closes_with_a_reason(port: int, sent: bytes, code: int) -> None:
    async with raw(port, "a") as connection:
        connection.send(sent)
        found, reason = await connection.closed()
        assert found == code
        assert code == 1000 or reason.endswith(".")
        assert await connection.ended()


async def test_a_frame_that_would_keep_the_loop_is_refused_when_it_is_announced(
    plane: StreamingDataPlane,
) -> None:
    async with serving(plane, message_bytes=4 * FRAME_BYTES) as port, raw(port, "a") as connection:
        connection.send(frame(BINARY, b"begin", length=FRAME_BYTES + 1))
        found, reason = await connection.closed()
        assert (found, f"{FRAME_BYTES} in a frame" in reason) == (1009, True)


@pytest.mark.parametrize(
    ("early", "code"),
    [(frame(TEXT, b"{}"), 1000), (frame(3), 1002), (frame(CLOSE), 1005)],
    ids=named,
)
async def test_frames_that_come_before_the_upgrade_is_answered(
    port: int, early: bytes, code: int
) -> None:
    async with raw(port, "a", early=early) as connection:
        assert connection.status == 101
        connection.send(frame(TEXT, b'{"end": true}'))
        assert (await connection.closed())[0] == code


async def test_messages_that_are_not_whole_wait_for_room(
    plane: StreamingDataPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = 1024 * 1024
    room = RequestRoom(LimitSettings(request_bytes=size, unread_bytes=2 * size))
    large = v2("x" * 900_000).encode()
    begun = frame(TEXT, large[:500_000], fin=False)
    async with serving(plane, message_bytes=size, room=room) as port:
        assert room.unread.lend(2 * size)
        async with raw(port, "a") as waiting, connect(port) as other:
            waiting.send(begun)
            await other.send(v2("small"))
            assert await heard(other)
            room.unread.take_back(2 * size)
            waiting.send(frame(CONT, large[500_000:]))
            assert (await waiting.frame())[0] == TEXT
        assert room.unread.lend(2 * size)
        monkeypatch.setattr(of_rooms, "ROOM_SECONDS", 0.05)
        async with raw(port, "a") as late:
            late.send(begun)
            code, reason = await late.closed()
            assert code == 4429 and "try again" in reason
            assert await late.ended()
        room.unread.take_back(2 * size)
        async with raw(port, "a") as connection:
            connection.send(frame(TEXT, large))
            assert (await connection.frame())[0] == TEXT
        assert room.unread.lend(2 * size)  # all of it is back


async def test_room_that_is_not_wanted_any_more_is_not_waited_for() -> None:
    size, refused = 1024 * 1024, []
    room = Room(2 * size)
    assert room.lend(2 * size)
    ahead = MessagesAhead(size, room, lambda: None, lambda: refused.append(True))
    ahead.put(200_000)
    ahead.come(100_000)
    assert ahead.is_enough  # and room is waited for
    await asyncio.sleep(0)
    ahead.take(200_000)
    assert not ahead.is_enough
    room.take_back(2 * size)
    await asyncio.sleep(0)
    assert room.lend(2 * size) and not refused


async def test_compressed_messages_are_undone_while_there_is_room_for_them(
    plane: StreamingDataPlane,
) -> None:
    size = 1024 * 1024
    room = RequestRoom(LimitSettings(request_bytes=size, unread_bytes=2 * size))
    large, small = v2("x" * 900_000).encode(), v2("x" * 10_000).encode()
    extension = "Sec-WebSocket-Extensions: permessage-deflate"
    async with serving(plane, message_bytes=size, room=room) as port:
        async with raw(port, "a", extension) as connection:
            connection.send(frame(TEXT, _deflated(large), rsv=0x40))
            assert (await connection.frame())[0] == TEXT
        assert room.unread.lend(2 * size)  # all of it is back
        async with raw(port, "a", extension) as connection:
            connection.send(frame(TEXT, _deflated(small), rsv=0x40))
            assert (await connection.frame())[0] == TEXT
            # Nobody knows what it becomes, and it is undone in one.
            packed = _deflated(large)
            connection.send(frame(TEXT, packed[:900], fin=False, rsv=0x40))
            code, reason = await connection.closed()
            assert code == 4429 and "try again" in reason


async def test_the_parser_keeps_nothing_of_a_message(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames: list[Any] = []
    text = WebSocketProtocol.handle_text

    def noted(self: WebSocketProtocol, event: Any) -> None:
        frames.append(event)
        text(self, event)

    monkeypatch.setattr(WebSocketProtocol, "handle_text", noted)
    async with raw(port, "a") as connection:
        connection.send(frame(TEXT, v2("x").encode()))
        assert (await connection.frame())[0] == TEXT
    assert [each.data for each in frames] == [b""]


async def test_what_has_come_of_a_message_goes_with_its_socket(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[WebSocketProtocol] = []
    begin = WebSocketProtocol.connection_made

    def noted(self: WebSocketProtocol, transport: Any) -> None:
        made.append(self)
        begin(self, transport)

    monkeypatch.setattr(WebSocketProtocol, "connection_made", noted)
    async with raw(port, "a") as connection:
        connection.send(frame(TEXT, bytes(100_000), fin=False), frame(CONT, bytes(1000))[:900])
        [protocol] = made
        async with asyncio.timeout(PATIENCE):
            while not protocol.conn.reader.buffer:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
    async with asyncio.timeout(PATIENCE):
        while not protocol.is_gone:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
    # Not left to the garbage collector, which may be long in coming.
    assert (protocol._part, bytes(protocol.conn.reader.buffer)) == (None, b"")


async def test_a_message_that_goes_on_while_its_socket_is_closed(
    port: int, caplog: pytest.LogCaptureFixture
) -> None:
    async with raw(port, "a") as connection:
        connection.send(
            frame(TEXT, b'{"end": true}'), frame(TEXT, b"{", fin=False), frame(CONT, b"}")
        )
        assert (await connection.closed())[0] == 1000
        connection.send(
            frame(TEXT, b"{", fin=False), frame(CONT, b"}"), frame(CLOSE, struct.pack("!H", 1000))
        )
        assert await connection.ended()
    assert not caplog.records


async def test_many_empty_fragments_take_no_memory(port: int) -> None:
    data = v2("x").encode()
    async with raw(port, "a") as connection:
        connection.send(frame(TEXT, data, fin=False), frame(CONT, fin=False) * 50_000, frame(CONT))
        opcode, _ = await connection.frame()
        assert opcode == TEXT


@pytest.mark.parametrize(
    "tiny", [frame(PING), frame(PONG), frame(CONT, fin=False)], ids=["pings", "pongs", "fragments"]
)
async def test_a_flood_of_tiny_frames_leaves_others_their_turns(
    port: int, tiny: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (turns, websocket_protocol):
        monkeypatch.setattr(module, "TURN_SECONDS", 0)
    parsed = Counter[int]()
    rounds = 0
    receive = ServerProtocol.receive_data

    def counted(connection: ServerProtocol, data: bytes) -> None:
        parsed[rounds] += len(data)
        receive(connection, data)

    async def go_round() -> None:
        nonlocal rounds
        while True:
            rounds += 1
            await asyncio.sleep(0)

    async with raw(port, "a") as connection:
        monkeypatch.setattr(ServerProtocol, "receive_data", counted)
        going = asyncio.create_task(go_round())
        flood = frame(TEXT, b"{", fin=False) + tiny * 20_000 + frame(CONT, b'"end": true}')
        connection.send(flood)
        assert (await connection.closed())[0] == 1000
        going.cancel()
    assert parsed.total() >= len(flood)
    assert max(parsed.values()) <= 2 * websocket_protocol.PIECE_BYTES


# -- pace and ends --


async def test_a_flood_is_read_no_faster_than_the_model_works(
    plane: StreamingDataPlane, port: int
) -> None:
    gated: Any = await plane.model("gated")
    async with raw(port, "gated") as connection:
        for number in range(2000):
            connection.send(frame(TEXT, v2("x" * 10_000, str(number)).encode()))
        unsent = connection.writer.transport.get_write_buffer_size
        await until_still(unsent)
        assert unsent() > LARGE
        assert gated.read == 1
        gated.gate.set()
        for number in range(2000):
            _, answered = await connection.frame()
            assert json.loads(answered)["id"] == str(number)


async def test_who_does_not_read_stops_the_model_and_is_ended(
    plane: StreamingDataPlane, port: int
) -> None:
    endless: Any = await plane.model("endless")
    async with raw(port, "endless") as connection:
        connection.send(frame(TEXT, v2("x").encode()))
        await until_still(lambda: endless.said)
        (call,) = plane.calls._open
        call.stop(IdleError(300))
        await until(lambda: endless.closed == 1)
        code, reason = await connection.closed()
        assert (code, reason) == (4408, str(IdleError(300)))


@pytest.mark.parametrize("politely", [True, False])
async def test_who_goes_leaves_nothing_behind(
    plane: StreamingDataPlane, port: int, politely: bool
) -> None:
    gated: Any = await plane.model("gated")
    tasks = len(asyncio.all_tasks())
    async with raw(port, "gated") as connection:
        for number in range(6):  # more than the model reads, and than wait for it
            connection.send(frame(TEXT, v2("x", str(number)).encode()))
        connection.send(frame(TEXT, v2("x", "own", own_stream=True).encode()))
        await until(lambda: gated.read)
        if politely:
            connection.send(frame(CLOSE, struct.pack("!H", 1000)))
            assert (await connection.closed())[0] == 1000
    await until(lambda: gated.closed and not plane.calls._open)
    await until(lambda: len(asyncio.all_tasks()) <= tasks)


async def test_a_drain_lets_answers_come_and_says_come_back(
    plane: StreamingDataPlane, port: int
) -> None:
    gated: Any = await plane.model("gated")
    async with connect(port, "gated") as busy, connect(port) as idle:
        await busy.send(v2("x"))
        await until(lambda: gated.read)
        draining = asyncio.create_task(plane.calls.drain(PATIENCE))
        async with asyncio.timeout(PATIENCE):
            await idle.wait_closed()
        assert idle.close_code == 1012
        gated.gate.set()
        assert said((await heard(busy))[0]) == ("1", "x")
        async with asyncio.timeout(PATIENCE):
            await busy.wait_closed()
        assert (busy.close_code, busy.close_reason) == (1012, "The service restarts; come back.")
        await draining


async def test_pings_are_no_traffic(plane: StreamingDataPlane) -> None:
    async with serving(plane, ping_seconds=0.05) as port, raw(port, "a") as connection:
        await until(lambda: plane.calls._open)
        (call,) = plane.calls._open
        last = call.last
        for _ in range(3):
            opcode, data = await connection.frame()
            assert opcode == PING
            connection.send(frame(PONG, data), frame(PING, b"mine"))
            assert await connection.frame() == (PONG, b"mine")
        assert call.last == last
