"""Triton's statistics of a model count its calls over every wire, each once."""

from __future__ import annotations

import httpx
import pytest

from mlserver_streaming.rpc.triton.messages import ModelRequest, ModelStatisticsResponse
from tests.live.grpc_calls import SERVICE, channel, infer, stream, text_request, triton_stream
from tests.live.rest_calls import path, prompt
from tests.live.service import Service


async def counted(service: Service, name: str) -> tuple[int, int]:
    """A model's successes and failures."""
    async with channel(service.triton_address) as connection:
        method = connection.unary_unary(SERVICE + "ModelStatistics")
        reply = await method(ModelRequest(name=name).SerializeToString())
    (found,) = ModelStatisticsResponse.FromString(reply).model_stats
    assert found.inference_count == found.inference_stats.success.count
    return found.inference_stats.success.count, found.inference_stats.fail.count


async def test_calls_of_every_wire_count_once(service: Service) -> None:
    before = await counted(service, "text-model")
    async with httpx.AsyncClient(base_url=service.url) as client:
        for call in ("infer", "generate", "infer_stream", "generate_stream"):
            answer = await client.post(path("text-model", call), json=prompt("a b c"))
            assert answer.status_code == 200
    for address in (service.grpc_address, service.triton_address):
        await infer(address, text_request("a b c"))
    await stream(service.grpc_address, [text_request("a b", request_id=i) for i in "12"])
    await triton_stream(service.triton_address, [text_request("a", request_id=i) for i in "12"])
    after = await counted(service, "text-model")
    assert (after[0] - before[0], after[1] - before[1]) == (10, 0)


async def test_failures_count_on_every_wire(service: Service) -> None:
    before = await counted(service, "text-model")
    bad = text_request("x", delay=-1)
    async with httpx.AsyncClient(base_url=service.url) as client:
        for call in ("infer", "infer_stream"):
            answer = await client.post(path("text-model", call), json=prompt(delay=-1))
            assert answer.status_code == 400
    for address in (service.grpc_address, service.triton_address):
        with pytest.raises(Exception, match="0 to 10"):
            await infer(address, bad)
    with pytest.raises(Exception, match="0 to 10"):
        await stream(service.grpc_address, [bad])
    # One that fails among others that do not.
    await stream(service.grpc_address, [text_request("x"), bad, text_request("y")])
    await triton_stream(service.triton_address, [bad])
    after = await counted(service, "text-model")
    assert (after[0] - before[0], after[1] - before[1]) == (2, 7)
