"""A stop that comes early: before the gRPC server starts, and while it does."""

import asyncio

import pytest
from grpc.aio import _server
from mlserver.handlers import ModelRepositoryHandlers

from clients.server_process import free_ports
from mlserver_streaming.ports import require_free
from mlserver_streaming.rpc.server import StreamingGRPCServer
from tests.streams.planes import plane_of

PATIENCE = 20


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


async def test_while_it_starts(server, monkeypatch):
    at_it, go_on = asyncio.Event(), asyncio.Event()
    start = _server.Server.start

    async def slowly(self):
        at_it.set()
        await go_on.wait()
        await start(self)

    monkeypatch.setattr(_server.Server, "start", slowly)
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
