"""A stop that comes early, before the gRPC server starts or while it does; old connections."""

import asyncio
from contextlib import AsyncExitStack, suppress

import grpc
import pytest
from grpc.aio import _server
from mlserver import MLModel
from mlserver.handlers import ModelRepositoryHandlers

from clients.server_process import free_ports
from mlserver_streaming.ports import require_free
from mlserver_streaming.rpc import last_calls
from mlserver_streaming.rpc.http2.server import Http2Server
from mlserver_streaming.rpc.server import StreamingGRPCServer
from tests.live.grpc_calls import SERVICE, text_request
from tests.streams.planes import answer, plane_of

PATIENCE = 20


SERVERS = {"http2": Http2Server, "grpcio": _server.Server}


@pytest.fixture(params=SERVERS, autouse=True)
def kind(request, monkeypatch):
    monkeypatch.setenv("STREAMING_GRPC__SERVER", request.param)
    return SERVERS[request.param]


@pytest.fixture
async def server(tmp_path):
    [port] = free_ports(1)
    async with plane_of(
        tmp_path, {}, host="127.0.0.1", grpc_port=port, metrics_endpoint=None
    ) as plane:
        handlers = ModelRepositoryHandlers(None, plane._model_registry)
        yield StreamingGRPCServer(plane._settings, plane, handlers)
        require_free("127.0.0.1", {"grpc_port": port})


async def test_before_it_starts(server):
    await server.stop()
    await asyncio.wait_for(server.start(), PATIENCE)


async def test_while_it_starts(server, kind, monkeypatch):
    at_it, go_on = asyncio.Event(), asyncio.Event()
    start = kind.start

    async def slowly(self):
        at_it.set()
        await go_on.wait()
        await start(self)

    monkeypatch.setattr(kind, "start", slowly)
    starting = asyncio.create_task(server.start())
    await asyncio.wait_for(at_it.wait(), PATIENCE)
    stopping = asyncio.create_task(server.stop())
    await asyncio.sleep(0)
    go_on.set()
    await asyncio.wait_for(stopping, PATIENCE)
    await asyncio.wait_for(starting, PATIENCE)


async def test_at_once_when_it_runs(server):
    starting = asyncio.create_task(server.start())
    await asyncio.wait_for(server._started.wait(), PATIENCE)
    await asyncio.wait_for(server.stop(), PATIENCE)
    await asyncio.wait_for(starting, PATIENCE)


class Slow(MLModel):
    """Says a word, and another when it is told to."""

    go_on = asyncio.Event()

    async def predict_stream(self, payloads):
        async for _ in payloads:
            yield answer("one")
            await self.go_on.wait()
            yield answer("two")


class Passage:
    """Connections to a port, passed on and counted."""

    def __init__(self, port: int):
        self._port = port
        self.connections = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        there, back = await asyncio.open_connection("127.0.0.1", self._port)
        await asyncio.gather(_copy(reader, back), _copy(there, writer))


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


async def test_old_connections_give_way_to_new_ones(tmp_path, monkeypatch):
    """A channel that lives long goes to another connection; its running stream ends whole."""
    monkeypatch.setenv("STREAMING_GRPC__MAX_CONNECTION_AGE_SECONDS", "0.2")
    monkeypatch.setenv("STREAMING_TRITON_PORT", str((ports := free_ports(2))[1]))
    settings = {"host": "127.0.0.1", "grpc_port": ports[0], "metrics_endpoint": None}
    async with plane_of(tmp_path, {"m": Slow}, **settings) as plane:
        handlers = ModelRepositoryHandlers(None, plane._model_registry)
        server = StreamingGRPCServer(plane._settings, plane, handlers)
        starting = asyncio.create_task(server.start())
        await asyncio.wait_for(server._started.wait(), PATIENCE)
        try:
            for port in ports:
                async with asyncio.timeout(PATIENCE):
                    await _outlives_its_connection(port)
        finally:
            Slow.go_on.set()
            await asyncio.wait_for(server.stop(), PATIENCE)
            await asyncio.wait_for(starting, PATIENCE)


class Prompt(MLModel):
    async def predict_stream(self, payloads):
        async for _ in payloads:
            yield answer("one")


async def test_a_stop_refuses_and_never_cancels(tmp_path, monkeypatch):
    """Many that call again at once: gRPC has always some that Python does not know of yet."""
    monkeypatch.setattr(last_calls, "LOOKS", 20)
    monkeypatch.setenv("STREAMING_TRITON_PORT", str((ports := free_ports(2))[1]))
    settings = {"host": "127.0.0.1", "grpc_port": ports[0], "metrics_endpoint": None}
    async with plane_of(tmp_path, {"m": Prompt}, **settings) as plane, AsyncExitStack() as channels:
        handlers = ModelRepositoryHandlers(None, plane._model_registry)
        server = StreamingGRPCServer(plane._settings, plane, handlers)
        starting = asyncio.create_task(server.start())
        await asyncio.wait_for(server._started.wait(), PATIENCE)
        seen, answered = set(), asyncio.Event()
        clients = []
        for port in ports:
            address = f"127.0.0.1:{port}"
            channel = await channels.enter_async_context(grpc.aio.insecure_channel(address))
            clients += [_call_on(channel, starting, seen, answered) for _ in range(25)]
        calling = asyncio.gather(*clients)
        await asyncio.wait_for(answered.wait(), PATIENCE)
        await asyncio.wait_for(server.stop(), PATIENCE)
        await asyncio.wait_for(asyncio.gather(starting, calling), PATIENCE)
    assert seen == {grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE}


async def _call_on(channel, serving, seen, answered):
    """Inference and health together, as long as the server is there; how they end."""
    request = text_request("a", model="m").SerializeToString()
    infer = channel.unary_unary(SERVICE + "ModelInfer")
    ready = channel.unary_unary(SERVICE + "ServerReady")
    while not serving.done():
        for call in (infer(request), ready(b"")):
            seen.add(await call.code())
            answered.set()


async def _outlives_its_connection(port: int) -> None:
    Slow.go_on = asyncio.Event()
    passage = Passage(port)
    between = await asyncio.start_server(passage, "127.0.0.1", 0)
    address = f"127.0.0.1:{between.sockets[0].getsockname()[1]}"
    async with between, grpc.aio.insecure_channel(address) as channel:
        call = channel.stream_stream(SERVICE + "ModelStreamInfer")(
            iter([text_request("a", model="m").SerializeToString()])
        )
        assert await call.read() is not grpc.aio.EOF
        ready = channel.unary_unary(SERVICE + "ServerReady")
        while passage.connections < 2:
            await ready(b"")
            await asyncio.sleep(0.01)
        Slow.go_on.set()
        assert await call.read() is not grpc.aio.EOF
        assert await call.read() is grpc.aio.EOF
        assert await call.code() is grpc.StatusCode.OK
