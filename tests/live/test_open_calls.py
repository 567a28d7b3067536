"""Calls that stay open and are no inference: a thousand of them keep nobody from it."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import AsyncExitStack
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from mlserver_streaming.rpc.admission import OPEN_CALLS_OF_ONE
from tests.live.grpc_calls import SERVICE, infer, text_request
from tests.live.service import Service
from tests.live.watch import PATIENCE

PORTS = ["grpc_address", "triton_address"]
CONNECTIONS, CALLS_OF_ONE = 3, 415


@pytest.mark.parametrize("port", PORTS)
async def test_a_thousand_watchers_of_health(service: Service, port: str):
    address = getattr(service, port)
    async with AsyncExitStack() as stack:
        calls: list[Any] = []
        for _ in range(CONNECTIONS):
            options = [("grpc.use_local_subchannel_pool", 1)]
            opened = grpc.aio.insecure_channel(address, options=options)
            stub: Any = health_pb2_grpc.HealthStub(await stack.enter_async_context(opened))
            calls += [stub.Watch(health_pb2.HealthCheckRequest()) for _ in range(CALLS_OF_ONE)]
        found = Counter(await asyncio.gather(*map(first, calls)))
        assert found["SERVING"] == CONNECTIONS * OPEN_CALLS_OF_ONE
        assert found["RESOURCE_EXHAUSTED"] > CONNECTIONS * CALLS_OF_ONE / 2
        # Who opens no thousand is served, probes and all.
        assert len((await infer(address, text_request("a b"))).outputs[0].shape) == 1
        async with grpc.aio.insecure_channel(address) as other:
            stub = health_pb2_grpc.HealthStub(other)
            assert (await stub.Check(health_pb2.HealthCheckRequest())).status == 1
    # They are gone, and others have their places.
    async with grpc.aio.insecure_channel(address) as other:
        async with asyncio.timeout(PATIENCE):
            stub = health_pb2_grpc.HealthStub(other)
            assert await first(stub.Watch(health_pb2.HealthCheckRequest())) == "SERVING"


async def first(call: Any) -> str:
    try:
        reply = await asyncio.wait_for(call.read(), PATIENCE)
    except grpc.aio.AioRpcError as error:
        return str(error.code().name)
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(reply.status))


@pytest.mark.parametrize("port", PORTS)
@pytest.mark.parametrize("method", ["ServerLive", "ModelReady", "ModelMetadata", "RepositoryIndex"])
async def test_a_message_that_is_none(service: Service, port: str, method: str):
    # Other tests share the service, and make its models fail.
    before = len(service.log.read_text())
    async with grpc.aio.insecure_channel(getattr(service, port)) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary(SERVICE + method)(b"\xff\xff")
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "Traceback" not in service.log.read_text()[before:]
