"""Peers that are silent, slow or gone without a word: the idle limit ends their streams, and the
service holds no more for them than before."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any

import grpc
import httpx
import pytest

from tests.live.conftest import WORKERS, make_folder
from tests.live.grpc_calls import (
    SERVICE,
    channel,
    jpeg_request,
    stream,
    text_request,
    triton_stream,
)
from tests.live.images import jpeg
from tests.live.rest_calls import path, probe, prompt
from tests.live.service import Service
from tests.live.sockets import connect, connections, deaf_sockets, request, reset, stream_request
from tests.live.vitals import EXACT_MEMORY, MIB, at_rest, recovered, resident
from tests.live.watch import PATIENCE

IDLE_SECONDS = 1.5
DEAF_READERS = 200
# What a reader that does not read may hold: what waits in its transport, and one event on its way;
# with workers, also what these have sent ahead, in pieces that the heap has not joined again yet.
DEAF_BYTES = 8 * MIB if WORKERS else MIB
PORTS = ["grpc_address", "triton_address"]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One that is soon bored."""
    folder = make_folder(
        tmp_path_factory.mktemp("idle") / "service",
        streaming={"limits": {"streams": 400, "stream_idle_seconds": IDLE_SECONDS}},
    )
    with Service(folder, folder / "server.log", **EXACT_MEMORY) as running:
        yield running


async def ended(service: Service, reason: str) -> int:
    """How many streams ended for this reason, as the metrics have it."""
    async with httpx.AsyncClient() as client:
        text = (await client.get(f"http://127.0.0.1:{service.metrics}/metrics")).text
    found = re.findall(rf'^stream_terminated_total{{.*reason="{reason}".*}} (\S+)$', text, re.M)
    return sum(int(float(each)) for each in found)


async def until_ended(service: Service, count: int) -> int:
    """Wait until the idle limit has ended so many streams; the service's peak memory meanwhile."""
    peak = 0
    async with asyncio.timeout(PATIENCE):
        while await ended(service, "idle") < count:
            peak = max(peak, resident(service.process.pid))
            await asyncio.sleep(0.05)
    return peak


async def test_readers_that_never_read(service: Service):
    body = stream_request("probe", probe(steps=10**9, size=65536))
    # The first time, so many at once leave pages of the heap in part used, some 8 MiB that do not
    # come back; each time after that fewer, until there are none.
    idle = await ended(service, "idle")
    with deaf_sockets(service, body, DEAF_READERS):
        await until_ended(service, idle + DEAF_READERS)
    before, alone = await at_rest(service), resident(service.process.pid)
    with deaf_sockets(service, body, DEAF_READERS):
        peak = await until_ended(service, idle + 2 * DEAF_READERS)
        assert peak - alone < DEAF_READERS * DEAF_BYTES
        # Their descriptors too, though nobody has closed them at the other end.
        await recovered(service, before)


async def test_a_reader_that_never_reads_one_large_answer(service: Service):
    before = await at_rest(service)
    # Numbers as text: 10 MiB of answer.
    body = {"inputs": [{"name": "x", "shape": [1], "datatype": "BYTES", "data": ["x"]}]}
    body["parameters"] = {"size": 2 * MIB, "steps": 5}  # type: ignore[assignment]
    asked = request(path("probe", "infer"), httpx.Request("POST", "http://x", json=body).content)
    with deaf_sockets(service, asked, 10):
        await recovered(service, before)


def deaf_channel(address: str) -> grpc.aio.Channel:
    """A connection that takes 1 MiB that nobody reads. gRPC's usual one takes more, the longer a
    ping takes: on a busy machine a gigabyte in half a minute, and such a client is not idle."""
    options = [("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", MIB)]
    options.append(("grpc.use_local_subchannel_pool", 1))
    return grpc.aio.insecure_channel(address, options=options)


@pytest.mark.parametrize("port", PORTS)
async def test_grpc_readers_that_never_read(service: Service, port: str):
    address = getattr(service, port)
    message = text_request("x", model="probe", steps=10**9, size=65536).SerializeToString()
    async with channel(address) as warm:
        await warm.channel_ready()
    before, idle = await at_rest(service), await ended(service, "idle")
    alone = resident(service.process.pid)
    async with AsyncExitStack() as connected:
        deaf = []
        for _ in range(20):
            one = await connected.enter_async_context(deaf_channel(address))
            deaf.append(one.stream_stream(SERVICE + "ModelStreamInfer")(timeout=60))
        for call in deaf:
            await call.write(message)
        peak = await until_ended(service, idle + len(deaf))
        assert peak - alone < len(deaf) * DEAF_BYTES
        # Who reads after all is told.
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            async for _ in deaf[0]:
                pass
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    # gRPC's connections live as long as anything of theirs.
    del one, call, deaf
    await recovered(service, before)


@pytest.mark.parametrize("port", PORTS)
@pytest.mark.parametrize("requests", [0, 1])
async def test_grpc_clients_that_open_streams_and_send_nothing(
    service: Service, port: str, requests: int
):
    async with channel(getattr(service, port)) as warm:
        await warm.channel_ready()
    before = await at_rest(service)
    async with channel(getattr(service, port)) as connected:
        method = connected.stream_stream(SERVICE + "ModelStreamInfer")
        silent = [method(timeout=60) for _ in range(100)]
        for call in silent:
            for _ in range(requests):
                await call.write(jpeg_request(jpeg()).SerializeToString())
        for call in silent:
            for _ in range(requests):
                assert await call.read() is not grpc.aio.EOF
        for call in silent:
            assert await asyncio.wait_for(call.code(), PATIENCE) is (
                grpc.StatusCode.DEADLINE_EXCEEDED
            )
    await recovered(service, before)


async def test_half_a_request_and_then_silence(service: Service):
    # Headers that do not end have a time of their own: tests/rest/test_http_server.py.
    before = await at_rest(service)
    half = request(path("text-model", "infer"), b'{"inputs": [', length=1000)
    async with connections(service, 100) as opened:
        for _, writer in opened:
            writer.write(half)
        for reader, _ in opened:
            line = await asyncio.wait_for(reader.readline(), PATIENCE)
            assert line.startswith(b"HTTP/1.1 408 ")
    await recovered(service, before)


async def test_half_a_request_and_then_gone(service: Service):
    before = await at_rest(service)
    whole = stream_request("probe", probe(steps=10**9, seconds=0.01))
    for length in range(1, len(whole) + 1, 5):
        _, writer = await connect(service)
        writer.write(whole[:length])
        reset(writer)
    await recovered(service, before)


async def test_bodies_that_come_drop_by_drop(service: Service):
    before = await at_rest(service)

    async def drip(writer: asyncio.StreamWriter, target: str) -> None:
        writer.write(request(target, b"", length=10**6))
        async with asyncio.timeout(PATIENCE):
            while not writer.transport.is_closing():
                writer.write(b" ")
                # The fault itself: always a little more, never too long a silence.
                await asyncio.sleep(0.1)

    # One that waits for its body, and one that does not.
    targets = [path("text-model", "generate_stream"), "/v2/health/live"] * 25
    async with connections(service, len(targets)) as opened:
        await asyncio.gather(*(drip(opened[i][1], target) for i, target in enumerate(targets)))
    await recovered(service, before)


async def test_a_model_that_hangs(service: Service):
    before = await at_rest(service)
    hanging = {"steps": 2, "gate": "/nowhere/gate"}

    async def code(send: Callable[..., Any], address: str) -> grpc.StatusCode:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await send(address, [text_request("x", model="probe", **hanging)])
        return caught.value.code()

    async with httpx.AsyncClient(base_url=service.url, timeout=PATIENCE) as client:
        streamed, unary, late, *codes = await asyncio.gather(
            client.post(path("probe", "generate_stream"), json=probe(**hanging)),
            client.post(path("probe", "infer"), json=probe(**hanging)),
            client.post(path("probe", "infer"), json=probe(**hanging, timeout=100_000)),
            code(stream, service.grpc_address),
            code(triton_stream, service.triton_address),
        )
    first, last = streamed.text.strip().split("\n\n")
    assert first.startswith("data: ")
    assert last.startswith("event: error\ndata: ")
    assert (unary.status_code, late.status_code) == (408, 504)
    assert set(codes) == {grpc.StatusCode.DEADLINE_EXCEEDED}
    await recovered(service, before)


async def test_words_still_come_after_all_that(service: Service):
    async with httpx.AsyncClient(base_url=service.url, timeout=PATIENCE) as client:
        said = await client.post(path("text-model", "generate_stream"), json=prompt("a b"))
    assert said.text.count("data:") == 2
