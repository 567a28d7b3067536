"""A rollout: SIGTERM drains, a second one stops, models are replaced under running streams."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import httpx
import pytest

from tests.live.conftest import make_folder
from tests.live.grpc_calls import SERVICE, channel, jpeg_request, stream, text_request, words
from tests.live.images import jpeg
from tests.live.rest_calls import open_gate, probe, prompt
from tests.live.service import Service
from tests.live.warm import WarmService
from tests.live.watch import steps, wait_until


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Service]]:
    """Start a service with settings of its own; it is stopped after the test."""
    services: list[Service] = []

    def started(**streaming: object) -> Service:
        folder = make_folder(tmp_path / "service", streaming=streaming)
        services.append(WarmService(folder, folder / "server.log").start())
        return services[-1]

    yield started
    for service in services:
        service.stop()


async def until_not_ready(client: httpx.AsyncClient) -> None:
    # Polled, as a probe does.
    while (await client.get("/v2/health/ready")).status_code != 503:  # noqa: ASYNC110
        await asyncio.sleep(0.01)


async def exit_status(service: Service) -> int:
    return await asyncio.to_thread(service.process.wait, 30)


async def test_sigterm_loses_no_stream_and_takes_no_new_one(
    tmp_path: Path, start: Callable[..., Service]
):
    service = start()
    gates = [tmp_path / f"gate-{index}" for index in range(2)]
    seen = tmp_path / "did"
    probes = [
        text_request("x", model="probe", steps=3, gate=str(gate), path=str(seen)) for gate in gates
    ]
    over_grpc = asyncio.create_task(stream(service.grpc_address, [probes[0]]))
    async with httpx.AsyncClient(base_url=service.url, timeout=30) as client:
        body = probe(steps=3, gate=str(gates[1]), path=str(seen))
        over_rest = asyncio.create_task(client.post("/v2/models/probe/generate_stream", json=body))
        await wait_until(lambda: steps(seen) >= 2)
        service.process.send_signal(signal.SIGTERM)
        await until_not_ready(client)
        assert (await client.get("/v2/health/live")).status_code == 200
        refused = await client.post("/v2/models/text-model/generate_stream", json=prompt("a"))
        assert refused.status_code == 503
        assert "stopping" in refused.json()["error"]
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stream(service.grpc_address, [text_request("a")])
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert service.process.poll() is None
        for gate in gates:
            open_gate(gate, 1)
            open_gate(gate, 2)
        assert len(await over_grpc) == 3
        assert (await over_rest).text.count("data:") == 3
    assert await exit_status(service) == 0


async def test_a_stream_that_outlasts_the_drain_is_told(
    tmp_path: Path, start: Callable[..., Service]
):
    service = start(drain_seconds=0.5)
    seen = tmp_path / "did"
    endless = {"steps": 100_000, "seconds": 0.01, "path": str(seen)}
    async with httpx.AsyncClient(base_url=service.url, timeout=30) as client:
        over_rest = asyncio.create_task(
            client.post("/v2/models/probe/generate_stream", json=probe(**endless))
        )
        over_grpc = asyncio.create_task(
            stream(service.grpc_address, [text_request("x", model="probe", **endless)])
        )
        await wait_until(lambda: steps(seen) >= 2)
        service.process.send_signal(signal.SIGTERM)
        streamed = await over_rest
        assert streamed.text.rstrip().split("\n\n")[-1].startswith("event: error\ndata: ")
        assert "stopping" in streamed.text
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await over_grpc
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert await exit_status(service) == 0


async def test_a_second_signal_stops_at_once(tmp_path: Path, start: Callable[..., Service]):
    service = start(drain_seconds=600)
    seen = tmp_path / "did"
    endless = text_request("x", model="probe", steps=100_000, seconds=0.01, path=str(seen))
    running = asyncio.create_task(stream(service.grpc_address, [endless]))
    await wait_until(lambda: steps(seen) >= 1)
    service.process.send_signal(signal.SIGTERM)
    async with httpx.AsyncClient(base_url=service.url) as client:
        await until_not_ready(client)
    service.process.send_signal(signal.SIGTERM)
    assert await exit_status(service) == 0
    with pytest.raises(grpc.aio.AioRpcError):
        await running


@pytest.mark.parametrize("change", ["load", "unload"])
async def test_a_model_that_is_replaced_or_taken_away_finishes_its_streams(
    service: Service, change: str
):
    async with (
        httpx.AsyncClient(base_url=service.url) as client,
        channel(service.grpc_address) as connection,
    ):
        call = connection.stream_stream(SERVICE + "ModelStreamInfer")()
        await call.write(jpeg_request(jpeg()).SerializeToString())
        await call.read()
        changed = await client.post(f"/v2/repository/models/jpeg-model/{change}")
        assert changed.status_code == 200
        # jpeg-model's unload ends its threads: it must wait for this stream.
        await call.write(jpeg_request(jpeg(200)).SerializeToString())
        assert await call.read() is not grpc.aio.EOF
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF
        again = await client.get("/v2/models/jpeg-model/ready")
        assert again.status_code == (200 if change == "load" else 404)
        if change == "unload":  # the service is not this test's alone
            back = await client.post("/v2/repository/models/jpeg-model/load")
            assert back.status_code == 200


async def test_words_still_come_after_all_that(service: Service):
    assert words(await stream(service.grpc_address, [text_request("a b")])) == ["a", " b"]
