"""The server under gRPC's own client, and under clients that are none or mean no good."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import h2.connection
import h2.events
import pytest
from h2.config import H2Configuration
from h2.errors import ErrorCodes

from mlserver_streaming.rpc.http2 import connection as of_connections
from mlserver_streaming.rpc.http2 import frames
from mlserver_streaming.rpc.http2.connection import CONTROL_BYTES, Connection
from mlserver_streaming.rpc.http2.frames import DATA, END_STREAM, IDLE_FRAMES, RESETS, WINDOW_UPDATE
from mlserver_streaming.rpc.http2.messages import framed
from mlserver_streaming.rpc.http2.metadata import LIST_BYTES
from mlserver_streaming.rpc.http2.outgoing import READY_BYTES
from mlserver_streaming.rpc.http2.running import OPEN_BYTES, Bounds, Running
from mlserver_streaming.rpc.http2.server import Http2Server
from mlserver_streaming.rpc.http2.wire import FAR_WINDOW_BYTES, LAST_STREAM, WINDOW_BYTES
from mlserver_streaming.settings import LimitSettings
from mlserver_streaming.streams import room as of_rooms
from mlserver_streaming.streams.room import RequestRoom
from tests.live.http2 import (
    ACK,
    CALL,
    END_HEADERS,
    GOAWAY,
    HEADERS,
    PING,
    PREFACE,
    RST_STREAM,
    fields,
    frame,
)
from tests.live.http2 import SETTINGS as SETTINGS_FRAME

PATIENCE = 20
MIB = 1024 * 1024
# More than a transport holds, less than a kernel's buffers of both ends do.
LARGE_BYTES = 1_000_000
Make = Callable[..., Any]
LIMITS = LimitSettings()
SETTINGS = {
    "grpc.max_receive_message_length": 8 * MIB,
    "grpc.max_concurrent_streams": 20,
    "grpc.keepalive_time_ms": 30_000,
    "grpc.keepalive_timeout_ms": 20_000,
}


class Service:
    """Methods that do what a test needs."""

    def __init__(self) -> None:
        self.read = self.written = 0
        self.at_it, self.go_on, self.cancelled = (asyncio.Event() for _ in range(3))

    def service(self, details: Any) -> Any:
        unary, stream = grpc.unary_unary_rpc_method_handler, grpc.stream_stream_rpc_method_handler
        found: dict[str, Any] = {
            "/s/Echo": unary(self.echo),
            "/s/Fail": unary(self.fail),
            "/s/Hang": unary(self.hang),
            "/s/Large": unary(self.large),
            "/s/Each": stream(self.each),
            "/s/Deaf": stream(self.deaf),
            "/s/Endless": stream(self.endless),
        }
        return found.get(details.method)

    async def echo(self, message: bytes, context: Any) -> bytes:
        await context.send_initial_metadata((("first", "1"),))
        context.set_trailing_metadata((("last-bin", b"\0\1"), ("peer", context.peer())))
        return message

    async def fail(self, message: bytes, context: Any) -> bytes:
        raise RuntimeError("a secret")

    async def hang(self, message: bytes, context: Any) -> bytes:
        self.at_it.set()
        try:
            await self.go_on.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return message

    async def large(self, message: bytes, context: Any) -> bytes:
        return bytes(LARGE_BYTES)

    async def each(self, messages: AsyncIterator[bytes], context: Any) -> None:
        async for message in messages:
            await context.write_all([message, message])

    async def deaf(self, messages: AsyncIterator[bytes], context: Any) -> None:
        await context.write(await anext(messages))
        self.read += 1
        await self.go_on.wait()

    async def endless(self, messages: AsyncIterator[bytes], context: Any) -> None:
        try:
            while True:
                await context.write(bytes(1024))
                self.written += 1024
        except asyncio.CancelledError:
            self.cancelled.set()
            raise


@pytest.fixture(autouse=True)
def near(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loopback is no far line, however slow this machine is."""
    monkeypatch.setattr(of_connections, "FAR_SECONDS", PATIENCE)


@pytest.fixture
async def start() -> AsyncIterator[Make]:
    """Start a server; its methods, itself and its port."""
    servers = []

    async def started(
        limits: LimitSettings = LIMITS, **options: Any
    ) -> tuple[Service, Http2Server, int]:
        service = Service()
        room = RequestRoom(limits)
        server = Http2Server([], list((SETTINGS | options).items()), None, room)
        server.add_generic_rpc_handlers((service,))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        servers.append(server)
        return service, server, port

    yield started
    for server in servers:
        await server.stop(None)


def channel(port: int) -> grpc.aio.Channel:
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)]
    return grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options)


async def status(call: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code(), caught.value.details() or ""


async def test_metadata_both_ways(start: Make) -> None:
    _, _, port = await start()
    async with channel(port) as client:
        call = client.unary_unary("/s/Echo")(b"x", timeout=PATIENCE)
        assert await call == b"x"
        assert dict(await call.initial_metadata())["first"] == "1"
        last = dict(await call.trailing_metadata())
        assert last["last-bin"] == b"\0\1"
        assert str(last["peer"]).startswith("ipv4:127.0.0.1:")


async def test_how_calls_end(start: Make) -> None:
    service, _, port = await start()
    async with channel(port) as client:
        code, _ = await status(client.unary_unary("/s/None")(b""))
        assert code is grpc.StatusCode.UNIMPLEMENTED
        code, said = await status(client.unary_unary("/s/Fail")(b""))
        assert code is grpc.StatusCode.UNKNOWN and "secret" not in said
        code, _ = await status(client.unary_unary("/s/Echo")(bytes(9 * MIB)))
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
        code, _ = await status(client.unary_unary("/s/Hang")(b"", timeout=0.2))
        assert code is grpc.StatusCode.DEADLINE_EXCEEDED
        await asyncio.wait_for(service.cancelled.wait(), PATIENCE)
        service.cancelled.clear()
        service.at_it.clear()
        call = client.unary_unary("/s/Hang")(b"")
        await asyncio.wait_for(service.at_it.wait(), PATIENCE)
        call.cancel()
        await asyncio.wait_for(service.cancelled.wait(), PATIENCE)


async def test_nobody_without_a_key_takes_room(start: Make) -> None:
    _, _, port = await start(open_methods=("/s/Echo",))
    async with channel(port) as client:
        small, large = bytes(OPEN_BYTES), bytes(OPEN_BYTES + 1)
        assert await client.unary_unary("/s/Echo")(small) == small
        code, said = await status(client.unary_unary("/s/Echo")(large))
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED and str(OPEN_BYTES) in said


@pytest.mark.parametrize("packing", [grpc.Compression.Gzip, grpc.Compression.Deflate])
async def test_packed_messages(start: Make, packing: grpc.Compression) -> None:
    _, _, port = await start()
    async with channel(port) as client:
        message = b"abc" * 300_000
        assert await client.unary_unary("/s/Echo")(message, compression=packing) == message
        too_large = client.unary_unary("/s/Echo")(bytes(9 * MIB), compression=packing)
        assert (await status(too_large))[0] is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_a_stream_of_large_messages(start: Make) -> None:
    _, _, port = await start()
    sizes = [0, 1, 5 * MIB, 65_531, 65_536, 7 * MIB]

    async def asked() -> AsyncIterator[bytes]:
        for size in sizes:
            yield bytes(size)

    async with channel(port) as client:
        found = [len(each) async for each in client.stream_stream("/s/Each")(asked())]
    assert found == [size for size in sizes for _ in range(2)]


async def test_what_is_not_read_is_not_taken(start: Make) -> None:
    service, _, port = await start()
    async with channel(port) as client, asyncio.timeout(PATIENCE):
        call = client.stream_stream("/s/Deaf")()
        await call.write(b"x")
        assert await call.read() == b"x"
        raw = await Raw.connect(port)
        stream = raw.call("/s/Deaf")
        sent = 0
        while (room := raw.h2.local_flow_control_window(stream)) > 0:
            data = (b"\0\0\0\0\1x" * 4000)[:room]
            raw.send(stream, data)
            sent += len(data)
            await raw.settle()
    # No more than the window and what was read, though this client never stops.
    assert WINDOW_BYTES - 6 <= sent < 2 * WINDOW_BYTES
    assert service.read == 2
    await raw.close()


async def test_a_far_line_gets_wider_windows(start: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(of_connections, "FAR_SECONDS", 0.0)
    service, _, port = await start()
    raw, whole = await Raw.connect(port), b"".join(framed([bytes(2 * MIB)]))
    first, deaf = raw.call("/s/Each"), raw.call("/s/Deaf")
    raw.send(first, whole[: WINDOW_BYTES // 2])
    async with asyncio.timeout(PATIENCE):
        while raw.h2.remote_settings.initial_window_size == WINDOW_BYTES:
            await raw.events()
    assert raw.h2.remote_settings.initial_window_size == FAR_WINDOW_BYTES
    # A new one has it from the beginning, and one that nobody reads has no more.
    later = raw.call("/s/Deaf")
    for stream in (deaf, later):
        sent = 0
        while (room := raw.h2.local_flow_control_window(stream)) > 0:
            raw.send(stream, bytes(room))
            sent += room
            await raw.settle()
        assert FAR_WINDOW_BYTES - 6 <= sent < FAR_WINDOW_BYTES + WINDOW_BYTES
    assert service.read == 2
    await raw.close()


async def test_a_client_that_does_not_read_holds_up_itself_alone(start: Make) -> None:
    service, _, port = await start()
    raw = await Raw.connect(port)
    stream = raw.call("/s/Endless")
    async with channel(port) as client, asyncio.timeout(PATIENCE):
        for _ in range(100):
            assert await client.unary_unary("/s/Echo")(b"x") == b"x"
        # Its windows, what is ready, and one message.
        assert 65_535 < service.written <= 65_535 + READY_BYTES + 2048
        raw.reset(stream)
        await service.cancelled.wait()
    await raw.close()


class Raw:
    """A client that may do what gRPC's would not."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter):
        self.reader, self.writer = reader, writer
        self.h2 = h2.connection.H2Connection(
            H2Configuration(validate_outbound_headers=False, normalize_outbound_headers=False)
        )
        self.heard: list[h2.events.Event] = []
        self.h2.initiate_connection()
        self.flush()

    @classmethod
    async def connect(cls, port: int) -> Raw:
        raw = cls(*await asyncio.open_connection("127.0.0.1", port))
        await raw.settle()
        return raw

    def flush(self) -> None:
        self.writer.write(self.h2.data_to_send())

    def call(self, method: str, **others: str) -> int:
        stream = self.h2.get_next_available_stream_id()
        headers = CALL | {":path": method} | others
        self.h2.send_headers(stream, list(headers.items()))
        self.h2.send_data(stream, b"\0\0\0\0\1x")
        self.flush()
        return stream

    def send(self, stream: int, data: bytes) -> None:
        for at in range(0, len(data), 16_384):
            self.h2.send_data(stream, data[at : at + 16_384])
        self.flush()

    def reset(self, stream: int) -> None:
        self.h2.reset_stream(stream, ErrorCodes.CANCEL)
        self.flush()

    async def settle(self) -> list[h2.events.Event]:
        """What the server says before it answers a ping."""
        self.h2.ping(b"settling")
        self.flush()
        found: list[h2.events.Event] = []
        while not any(isinstance(each, h2.events.PingAckReceived) for each in found):
            found += await self.events()
        return found

    async def events(self) -> list[h2.events.Event]:
        data = await asyncio.wait_for(self.reader.read(65_536), PATIENCE)
        if not data:
            raise ConnectionResetError
        found = self.h2.receive_data(data)
        self.heard += found
        self.flush()
        return found

    async def close(self) -> None:
        self.writer.close()
        await self.writer.wait_closed()


async def headers_of(raw: Raw, stream: int) -> dict[bytes, bytes]:
    while True:
        for event in await raw.events():
            if isinstance(event, h2.events.ResponseReceived) and event.stream_id == stream:
                return dict(event.headers)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("others", "answer"),
    [
        ({":method": "GET"}, {b":status": b"405"}),
        ({"content-type": "text/plain"}, {b":status": b"415"}),
        ({"grpc-timeout": "soon"}, {b":status": b"200", b"grpc-status": b"13"}),
        ({"grpc-encoding": "zstd"}, {b":status": b"200", b"grpc-status": b"12"}),
        ({"x": "y" * LIST_BYTES}, {b":status": b"200", b"grpc-status": b"8"}),
    ],
    ids=lambda each: str(next(iter(each)))[:20],
)
async def test_calls_that_are_none(
    start: Make, others: dict[str, str], answer: dict[bytes, bytes]
) -> None:
    _, _, port = await start()
    raw = await Raw.connect(port)
    said = await headers_of(raw, raw.call("/s/Echo", **others))
    assert {name: said[name] for name in answer} == answer
    # The connection is as good as before.
    assert (await headers_of(raw, raw.call("/s/Echo")))[b":status"] == b"200"
    await raw.close()


async def test_a_request_that_is_malformed(start: Make) -> None:
    _, _, port = await start()
    raw = await Raw.connect(port)
    stream = raw.call("/s/Echo", Upper="x")
    found = [each for each in await raw.settle() if isinstance(each, h2.events.StreamReset)]
    assert [(each.stream_id, each.error_code) for each in found] == [
        (stream, ErrorCodes.PROTOCOL_ERROR)
    ]
    assert (await headers_of(raw, raw.call("/s/Echo")))[b":status"] == b"200"
    await raw.close()


async def test_more_calls_than_a_connection_may_have(start: Make) -> None:
    service, _, port = await start()
    raw = await Raw.connect(port)
    assert raw.h2.remote_settings.max_concurrent_streams == SETTINGS["grpc.max_concurrent_streams"]
    raw.h2.remote_settings.max_concurrent_streams = 1000
    raw.h2.remote_settings.acknowledge()
    streams = [raw.call("/s/Hang") for _ in range(25)]
    refused: list[Any] = []
    while len(refused) < 5:
        found = await raw.events()
        refused += [each for each in found if isinstance(each, h2.events.StreamReset)]
    assert [each.stream_id for each in refused] == streams[20:]
    assert {each.error_code for each in refused} == {ErrorCodes.REFUSED_STREAM}
    service.go_on.set()
    assert (await headers_of(raw, streams[0]))[b":status"] == b"200"
    await raw.close()


async def last_words(reader: asyncio.StreamReader) -> int | None:
    """The code of the last GOAWAY, once the server has closed."""
    code = None
    async with asyncio.timeout(PATIENCE):
        try:
            while True:
                head = await reader.readexactly(9)
                payload = await reader.readexactly(int.from_bytes(head[:3]))
                if head[3] == GOAWAY:
                    code = int.from_bytes(payload[4:8])
        except (asyncio.IncompleteReadError, ConnectionResetError):
            return code


def calls(then: tuple[int, int, bytes] | None = None, **headers: str) -> bytes:
    """Many calls, each with a frame behind it: its kind, flags and payload."""
    head, opening = fields(CALL | headers), END_HEADERS
    if then is not None and then[0] == DATA:
        opening |= END_STREAM
    streams = range(1, 2 * (RESETS + 200), 2)
    return b"".join(
        frame(HEADERS, opening, each, head)
        + (b"" if then is None else frame(then[0], then[1], each, then[2]))
        for each in streams
    )


@pytest.mark.parametrize(
    ("flood", "code"),
    [
        (calls((RST_STREAM, 0, bytes(4))), ErrorCodes.ENHANCE_YOUR_CALM),
        # What has us reset them: after the end, malformed, more than it may have.
        (calls((DATA, 0, b"x")), ErrorCodes.ENHANCE_YOUR_CALM),
        (calls(Upper="x"), ErrorCodes.ENHANCE_YOUR_CALM),
        (
            frame(SETTINGS_FRAME, ACK, 0) + calls(**{":path": "/s/Hang"}),
            ErrorCodes.ENHANCE_YOUR_CALM,
        ),
        (frame(PING, 0, 0, bytes(8)) * (IDLE_FRAMES + 200), ErrorCodes.ENHANCE_YOUR_CALM),
        (frame(SETTINGS_FRAME, 0, 0) * (IDLE_FRAMES + 200), ErrorCodes.ENHANCE_YOUR_CALM),
        (frame(HEADERS, 0, 1) + frame(9, 0, 1) * 20, ErrorCodes.ENHANCE_YOUR_CALM),
        # A table of one long header, and headers that are its place in it.
        (
            frame(HEADERS, END_HEADERS, 1, b"\x40\1x\x7f\xa1\x1e" + b"y" * 4000 + b"\xbe" * 4000),
            ErrorCodes.ENHANCE_YOUR_CALM,
        ),
        (frame(0, 0, 0, b"x"), ErrorCodes.PROTOCOL_ERROR),
        # https://www.rfc-editor.org/rfc/rfc9113#section-6.10
        (frame(HEADERS, 0, 1) + frame(77, 0, 1), ErrorCodes.PROTOCOL_ERROR),
    ],
    ids=[
        "resets",
        "data after the end",
        "malformed",
        "too many",
        "pings",
        "settings",
        "endless headers",
        "HPACK",
        "data of no call",
        "headers",
    ],
)
async def test_floods(
    start: Make, monkeypatch: pytest.MonkeyPatch, flood: bytes, code: ErrorCodes
) -> None:
    # However slow this machine is.
    monkeypatch.setattr(frames, "RESETS_A_SECOND", 0)
    monkeypatch.setattr(frames, "IDLE_FRAMES_A_SECOND", 0)
    _, _, port = await start()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(PREFACE + frame(SETTINGS_FRAME, 0, 0) + flood)
    async with channel(port) as client:
        assert await client.unary_unary("/s/Echo")(b"x", timeout=PATIENCE) == b"x"
    assert await last_words(reader) == code
    writer.close()


class Full:
    """A transport whose other end takes nothing."""

    def __init__(self) -> None:
        self.held = 0
        self.is_reading = True

    def get_extra_info(self, name: str) -> Any:
        return ("127.0.0.1", 1)

    def set_write_buffer_limits(self, high: int) -> None: ...

    def write(self, data: bytes) -> None:
        self.held += len(data)

    def get_write_buffer_size(self) -> int:
        return self.held

    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None:
        self.is_reading = False

    def resume_reading(self) -> None:
        self.is_reading = True

    def close(self) -> None: ...

    abort = close


class Gone(Full):
    """One whose other end has just left, as asyncio's own loop meets it."""

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        raise OSError(errno.ENOTCONN, "")


async def test_who_leaves_while_its_connection_is_closed_stops_nothing() -> None:
    opened = Connection(Running(Bounds.of(list(SETTINGS.items())), RequestRoom(LIMITS)), Any)
    transport: Any = Gone()
    opened.connection_made(transport)
    opened.cut_off()
    opened.connection_lost(None)


async def test_answers_that_nobody_takes_are_bounded() -> None:
    opened = Connection(Running(Bounds.of(list(SETTINGS.items())), RequestRoom(LIMITS)), Any)
    transport: Any = Full()
    opened.connection_made(transport)
    opened.data_received(PREFACE + frame(SETTINGS_FRAME, 0, 0))
    while not opened._is_deaf:
        # As if calls went on, so that pings are no flood.
        opened._frames.idle.renew()
        opened.data_received(frame(PING, 0, 0, bytes(8)) * 100)
        await asyncio.sleep(0)
    assert CONTROL_BYTES < transport.held < CONTROL_BYTES + 64 * 1024
    assert not transport.is_reading
    opened.resume_writing()
    opened.connection_lost(None)


async def test_data_that_comes_late_is_no_fault(
    start: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frames, "RESETS", 3)
    monkeypatch.setattr(frames, "RESETS_A_SECOND", 0)
    _, _, port = await start()
    raw = await Raw.connect(port)
    refused = [raw.call("/s/None"), raw.call("/s/Hang", **{"grpc-timeout": "1m"})]
    for stream in refused:
        await ended(raw, stream)
    for stream in refused * 50:
        raw.writer.write(frame(DATA, 0, stream, bytes(1000)))
    assert not [each for each in await raw.settle() if isinstance(each, h2.events.StreamReset)]
    assert (await headers_of(raw, raw.call("/s/Echo")))[b":status"] == b"200"
    await raw.close()


async def ended(raw: Raw, stream: int) -> dict[bytes, bytes]:
    """The headers with which a call ends that says nothing else."""
    found: dict[bytes, bytes] = {}
    while not any(
        isinstance(each, h2.events.StreamReset) and each.stream_id == stream for each in raw.heard
    ):
        await raw.events()
    for each in raw.heard:
        if isinstance(each, h2.events.ResponseReceived) and each.stream_id == stream:
            found = dict(each.headers)  # type: ignore[arg-type]
    return found


async def test_a_request_that_does_not_come(start: Make) -> None:
    _, _, port = await start(request_seconds=0.05)
    raw = await Raw.connect(port)
    stream = raw.h2.get_next_available_stream_id()
    raw.h2.send_headers(stream, list((CALL | {":path": "/s/Echo"}).items()))
    raw.send(stream, b"\0\0\0\0\2x")
    assert (await ended(raw, stream))[b"grpc-status"] == b"4"
    await raw.close()


async def test_large_messages_that_are_not_whole(
    start: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    size, most = 4 * MIB, 6 * MIB
    _, _, port = await start(LimitSettings(request_bytes=1024, unread_bytes=most))
    raw, streams = await Raw.connect(port), []
    for _ in range(10):
        streams.append(stream := raw.h2.get_next_available_stream_id())
        raw.h2.send_headers(stream, list((CALL | {":path": "/s/Echo"}).items()))
        raw.send(stream, b"\0" + size.to_bytes(4))
    await raw.settle()
    await raw.settle()
    rooms = [raw.h2.local_flow_control_window(stream) for stream in streams]
    # One may send all; the others, what is left over for any.
    assert rooms[0] >= size
    assert max(rooms[1:]) <= WINDOW_BYTES
    async with channel(port) as client:
        assert len(await client.unary_unary("/s/Echo")(bytes(WINDOW_BYTES), timeout=PATIENCE))
        monkeypatch.setattr(of_rooms, "ROOM_SECONDS", 0.05)
        code, said = await status(client.unary_unary("/s/Echo")(bytes(5 * MIB), timeout=PATIENCE))
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED and "try again" in said
    await raw.close()
    async with channel(port) as client:
        assert len(await client.unary_unary("/s/Echo")(bytes(size), timeout=PATIENCE)) == size


async def test_a_client_that_does_not_begin(start: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(of_connections, "BEGIN_SECONDS", 0.1)
    _, _, port = await start()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(PREFACE[:10])
    assert await last_words(reader) is None
    writer.close()


async def test_a_client_that_answers_no_ping(start: Make) -> None:
    _, _, port = await start(**{"grpc.keepalive_time_ms": 100, "grpc.keepalive_timeout_ms": 100})
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(PREFACE + frame(SETTINGS_FRAME, 0, 0) + frame(SETTINGS_FRAME, ACK, 0))
    assert await last_words(reader) is None
    writer.close()


async def test_a_stop_lets_calls_end(start: Make) -> None:
    service, server, port = await start()
    raw = await Raw.connect(port)
    stream = raw.call("/s/Hang")
    await asyncio.wait_for(service.at_it.wait(), PATIENCE)
    stopping = asyncio.create_task(server.stop(PATIENCE))
    found: list[Any] = []
    while not any(isinstance(each, h2.events.ConnectionTerminated) for each in found):
        # h2 holds that a connection is over at the first; what follows is read by hand.
        found += await raw.events()
    [first] = [each for each in found if isinstance(each, h2.events.ConnectionTerminated)]
    assert (first.last_stream_id, first.error_code) == (LAST_STREAM, ErrorCodes.NO_ERROR)
    service.go_on.set()
    await asyncio.wait_for(stopping, PATIENCE)
    rest = await asyncio.wait_for(raw.reader.read(), PATIENCE)
    assert frame(HEADERS, 0, stream)[3:4] in rest
    assert b"x" in rest
    await raw.close()


async def test_a_slow_client_has_its_answer_whole_after_a_stop(start: Make) -> None:
    _, server, port = await start()
    line = socket.socket()
    line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32 * 1024)
    line.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(line, ("127.0.0.1", port))
    window = frame(SETTINGS_FRAME, 0, 0, b"\0\4" + (2**30).to_bytes(4))
    more = frame(WINDOW_UPDATE, 0, 0, (2**30).to_bytes(4))
    ask = frame(HEADERS, END_HEADERS, 1, fields(CALL | {":path": "/s/Large"}))
    asked = frame(0, END_STREAM, 1, b"\0\0\0\0\1x")
    await loop.sock_sendall(line, PREFACE + window + more + ask + asked)
    found = await loop.sock_recv(line, 1)
    stopping = asyncio.create_task(server.stop(PATIENCE))
    async with asyncio.timeout(PATIENCE):
        while data := await loop.sock_recv(line, 16_384):
            found += data
            # As clients do: it comes when the server has said all that it had to say.
            await loop.sock_sendall(line, frame(WINDOW_UPDATE, 0, 0, (1).to_bytes(4)))
        line.close()
        await stopping
    assert len(found) > LARGE_BYTES
    assert b"grpc-status" in found


async def test_connections_grow_old(start: Make) -> None:
    _, _, port = await start(
        **{"grpc.max_connection_age_ms": 100, "grpc.max_connection_age_grace_ms": 60_000}
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(PREFACE + frame(SETTINGS_FRAME, 0, 0))
    assert await last_words(reader) == ErrorCodes.NO_ERROR
    writer.close()


async def test_a_port_that_is_taken(start: Make) -> None:
    _, _, port = await start()
    with pytest.raises(RuntimeError):
        another = Http2Server([], list(SETTINGS.items()), None, RequestRoom(LIMITS))
        another.add_insecure_port(f"127.0.0.1:{port}")
