"""Open calls end in time, and messages that are none are their senders' fault."""

import asyncio

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2, reflection_pb2_grpc

from mlserver_streaming.rpc import admission
from mlserver_streaming.rpc.admission import Admission
from mlserver_streaming.rpc.health import ReadinessHealth
from tests.live import http2

PATIENCE = 20
WATCH = "/grpc.health.v1.Health/Watch"
REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"


DATA, END_STREAM = 0, 0x1


class Plane:
    def __init__(self):
        self.is_ready = True
        self.asked = False

    async def ready(self):
        self.asked = True
        return self.is_ready


def connected(port):
    return grpc.aio.insecure_channel(f"127.0.0.1:{port}")


@pytest.fixture
def plane():
    return Plane()


@pytest.fixture
async def serve(plane):
    """Start a server whose open calls end after so long; its port."""
    servers = []

    async def started(seconds=PATIENCE):
        server = grpc.aio.server(interceptors=[Admission(10, seconds)])
        health_pb2_grpc.add_HealthServicer_to_server(ReadinessHealth(plane, "a"), server)
        reflection.enable_server_reflection(["a"], server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        servers.append(server)
        return port

    yield started
    for server in servers:
        await server.stop(None)


async def test_a_watcher_hears_of_every_change(serve, plane):
    async with connected(await serve()) as channel:
        watching = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        assert (await watching.read()).status == health_pb2.HealthCheckResponse.SERVING
        plane.is_ready = False
        reply = await asyncio.wait_for(watching.read(), PATIENCE)
        assert reply.status == health_pb2.HealthCheckResponse.NOT_SERVING


async def test_who_does_not_read_keeps_no_probe_waiting(serve, plane):
    port = await serve()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    # A window of nothing: what is written to this watcher never leaves.
    window = (4).to_bytes(2, "big") + bytes(4)
    writer.write(http2.PREFACE + http2.frame(http2.SETTINGS, 0, 0, window))
    head = http2.fields(http2.CALL | {":path": WATCH})
    writer.write(http2.frame(http2.HEADERS, http2.END_HEADERS, 1, head))
    writer.write(http2.frame(DATA, END_STREAM, 1, bytes(5)))
    async with asyncio.timeout(PATIENCE):
        while not plane.asked:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    plane.is_ready = False
    async with connected(port) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        asked = stub.Check(health_pb2.HealthCheckRequest(), timeout=PATIENCE)
        assert (await asked).status == health_pb2.HealthCheckResponse.NOT_SERVING
    writer.close()
    await reader.read()


@pytest.mark.parametrize("method", [WATCH, REFLECTION])
async def test_an_open_call_ends_in_time(serve, method):
    async with connected(await serve(seconds=0.1)) as channel:
        call = channel.stream_stream(method)()
        if method == WATCH:
            await call.write(b"")
            await call.done_writing()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            async with asyncio.timeout(PATIENCE):
                async for _ in call:
                    pass
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert "0.1 s" in caught.value.details()


async def test_there_are_so_many_in_all(serve, monkeypatch):
    monkeypatch.setattr(admission, "OPEN_CALLS", 2)
    async with connected(await serve()) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        opened = [stub.Watch(health_pb2.HealthCheckRequest()) for _ in range(2)]
        for call in opened:
            assert await call.read()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Watch(health_pb2.HealthCheckRequest()).read()
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        opened[0].cancel()
        async with asyncio.timeout(PATIENCE):
            while True:
                try:
                    assert await stub.Watch(health_pb2.HealthCheckRequest()).read()
                    break
                except grpc.aio.AioRpcError:
                    await asyncio.sleep(0.01)


async def test_reflection_still_answers(serve):
    async with connected(await serve()) as channel:
        call = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo()
        await call.write(reflection_pb2.ServerReflectionRequest(list_services="*"))
        assert (await call.read()).list_services_response.service[0].name == "a"
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF


@pytest.mark.parametrize("method", [WATCH, REFLECTION, "/grpc.health.v1.Health/Check"])
async def test_a_message_that_is_none(serve, method, caplog):
    async with connected(await serve()) as channel:
        call = channel.stream_stream(method)()
        await call.write(b"\xff\xff")
        await call.done_writing()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await asyncio.wait_for(call.read(), PATIENCE)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert not caplog.records
