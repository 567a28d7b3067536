"""Faults of clients, models and the machine: the service answers on, and holds no more than before.

The clients that are silent or slow stand in test_idle_peers.py.
"""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import Iterator
from pathlib import Path

import grpc
import httpx
import pytest

from tests.live.conftest import make_folder
from tests.live.grpc_calls import SERVICE, channel, stream, text_request, triton_stream, words
from tests.live.http2 import rapid_reset
from tests.live.rest_calls import open_gate, path, probe, prompt
from tests.live.service import Service
from tests.live.sockets import (
    END,
    Connection,
    connect,
    connections,
    deaf_sockets,
    request,
    reset,
    stream_request,
)
from tests.live.vitals import EXACT_MEMORY, MIB, Vitals, at_rest, recovered, resident
from tests.live.warm import WarmService
from tests.live.watch import PATIENCE, steps, wait_until

STREAMS = 1000
HANG_UPS = 300
SHORT_STREAMS = 10_000
RESETS = 10_000


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One that takes a thousand streams."""
    folder = make_folder(
        tmp_path_factory.mktemp("faults") / "service",
        streaming={"limits": {"streams": STREAMS + 200}},
    )
    with Service(folder, folder / "server.log", **EXACT_MEMORY) as running:
        yield running


async def answers(service: Service) -> None:
    """The service still does its work, over every protocol."""
    async with httpx.AsyncClient(base_url=service.url, timeout=PATIENCE) as client:
        said = await client.post(path("text-model", "generate_stream"), json=prompt("a b"))
        assert said.text.count("data:") == 2
    assert words(await stream(service.grpc_address, [text_request("a b")])) == ["a", " b"]
    replies = await triton_stream(service.triton_address, [text_request("a b")])
    assert [error for error, _ in replies] == ["", ""]


async def read_stream(connection: Connection) -> bytes:
    """One whole answer."""
    return await asyncio.wait_for(connection[0].readuntil(END), PATIENCE)


async def one_stream_each(opened: list[Connection], body: dict[str, object]) -> list[bytes]:
    for _, writer in opened:
        writer.write(stream_request("probe", body))
    return await asyncio.gather(*map(read_stream, opened))


async def test_a_thousand_streams_of_which_three_hundred_hang_up(service: Service, tmp_path: Path):
    seen = tmp_path / "did"
    chance = random.Random(1)
    async with connections(service, STREAMS) as opened:  # the service's tables and arenas grow
        await one_stream_each(opened, probe())
    before = await at_rest(service)
    async with connections(service, STREAMS) as opened:
        for _, writer in opened:
            writer.write(stream_request("probe", probe(steps=4, seconds=0.5, path=str(seen))))
        leaving = opened[:HANG_UPS]

        async def hang_up(connection: Connection) -> None:
            # At any moment: before the headers, between events, inside one.
            async with asyncio.timeout(PATIENCE):
                for _ in range(chance.randrange(3)):
                    await connection[0].readuntil(b"\n\n")
            reset(connection[1])

        hanging_up = asyncio.gather(*map(hang_up, leaving))
        answers = await asyncio.gather(*map(read_stream, opened[HANG_UPS:]))
        await hanging_up
        assert {answer.count(b"data:") for answer in answers} == {4}
        await wait_until(lambda: seen.read_text().count("closed") == STREAMS)
    await recovered(service, before)


async def test_ten_thousand_short_streams(service: Service):
    async def some(count: int) -> None:
        async def over_rest(connection: Connection) -> None:
            for _ in range(count):
                connection[1].write(stream_request("probe", probe(steps=2)))
                assert (await read_stream(connection)).count(b"data:") == 2

        async def over_grpc(connected: grpc.aio.Channel) -> None:
            method = connected.stream_stream(SERVICE + "ModelStreamInfer")
            message = text_request("a").SerializeToString()
            for _ in range(count):
                replies = method(iter([message]), timeout=PATIENCE)
                assert len([reply async for reply in replies]) == 1

        async with (
            connections(service, 8) as opened,
            channel(service.grpc_address) as native,
            channel(service.triton_address) as dialect,
        ):
            await asyncio.gather(*map(over_rest, opened), over_grpc(native), over_grpc(dialect))

    await some(100)
    before = await at_rest(service)
    await some(SHORT_STREAMS // 10)
    await recovered(service, before)


@pytest.mark.parametrize("port", ["grpc", "triton"])
async def test_rapid_reset(service: Service, port: str):
    await rapid_reset(getattr(service, port), RESETS)
    before = await at_rest(service)
    await rapid_reset(getattr(service, port), RESETS)
    await answers(service)
    await recovered(service, before)


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_gibibyte_against_the_limit(service: Service, chunked: bool):
    before = await at_rest(service)
    reader, writer = await connect(service)
    target = path("text-model", "infer")
    head = request(target, b"", length=1024 * MIB)
    if chunked:
        head = head.replace(b"Content-Length: %d" % (1024 * MIB), b"Transfer-Encoding: chunked")
    piece = bytes(MIB)
    if chunked:
        piece = b"%x\r\n%b\r\n" % (MIB, piece)
    writer.write(head)
    peak = 0
    try:
        for _ in range(1024):
            writer.write(piece)
            await asyncio.wait_for(writer.drain(), PATIENCE)
            peak = max(peak, resident(service.process.pid))
    except ConnectionError:
        pass  # the service has said all that it wants to say
    assert (await asyncio.wait_for(reader.readline(), PATIENCE)).startswith(b"HTTP/1.1 413 ")
    reset(writer)
    assert peak - before.resident < 256 * MIB
    await answers(service)
    await recovered(service, before)


@pytest.mark.parametrize("fail_at", [0, 1])
async def test_a_model_that_raises(service: Service, fail_at: int):
    async def some(count: int) -> None:
        body = probe(steps=3, fail_at=fail_at)
        message = text_request("x", model="probe", steps=3, fail_at=fail_at)
        async with httpx.AsyncClient(base_url=service.url, timeout=PATIENCE) as client:
            for _ in range(count):
                answer = await client.post(path("probe", "generate_stream"), json=body)
                assert answer.status_code == (200 if fail_at else 500)
                assert answer.text.count("the service failed on request".capitalize()) == 1
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await stream(service.grpc_address, [message])
                assert caught.value.code() is grpc.StatusCode.INTERNAL

    await some(5)
    before = await at_rest(service)
    await some(50)
    await recovered(service, before)


async def test_a_model_that_yields_for_ever(service: Service, tmp_path: Path):
    seen = tmp_path / "did"
    before = await at_rest(service)
    endless = {"steps": 10**9, "path": str(seen)}
    reader, writer = await connect(service)
    writer.write(stream_request("probe", probe(**endless)))
    async with asyncio.timeout(PATIENCE):
        for _ in range(20):
            await reader.readuntil(b"\n\n")
    await answers(service)  # it starves nobody
    reset(writer)
    async with channel(service.grpc_address) as connected:
        call = connected.stream_stream(SERVICE + "ModelStreamInfer")()
        await call.write(text_request("x", model="probe", **endless).SerializeToString())
        for _ in range(20):
            assert await call.read() is not grpc.aio.EOF
        call.cancel()
    await wait_until(lambda: seen.read_text().count("closed") == 2)
    await recovered(service, before)


async def test_sigterm_amid_fifty_streams(tmp_path: Path):
    folder = make_folder(tmp_path / "service")
    gate, seen = tmp_path / "gate", tmp_path / "did"
    wanted = {"steps": 3, "gate": str(gate), "path": str(seen)}
    message = text_request("x", model="probe", **wanted)
    with WarmService(folder, folder / "server.log") as service:
        async with connections(service, 25) as opened:
            over_rest = asyncio.create_task(one_stream_each(opened, probe(**wanted)))
            over_grpc = [
                asyncio.create_task(stream(service.grpc_address, [message])) for _ in range(25)
            ]
            await wait_until(lambda: steps(seen) == 50)
            service.process.send_signal(signal.SIGTERM)
            async with httpx.AsyncClient(base_url=service.url) as client:
                async with asyncio.timeout(PATIENCE):
                    # Polled, as a probe does.
                    while (await client.get("/v2/health/ready")).status_code != 503:  # noqa: ASYNC110
                        await asyncio.sleep(0.01)
            open_gate(gate, 1)
            open_gate(gate, 2)
            assert {answer.count(b"data:") for answer in await over_rest} == {3}
            assert {len(replies) for replies in await asyncio.gather(*over_grpc)} == {3}
        assert await asyncio.to_thread(service.process.wait, PATIENCE) == 0


async def test_no_room_for_logs_and_an_exit_that_clients_try_to_hold_up(tmp_path: Path):
    folder = make_folder(tmp_path / "service", streaming={"drain_seconds": 0.5})
    with Service(folder, Path("/dev/full")) as service:
        before: Vitals | None = None
        async with connections(service, 20) as opened:
            for _ in range(20):
                # The log has a line for each of these and, since they fail, a traceback.
                await one_stream_each(opened, probe(steps=2, fail_at=1))
                before = before or await at_rest(service)
        await answers(service)
        assert before is not None
        await recovered(service, before)
        endless = probe(steps=10**9, size=65536, path=f"{folder}/did")
        half = await connect(service)
        half[1].write(request(path("text-model", "infer"), b"half", length=1000))
        with deaf_sockets(service, stream_request("probe", endless)):
            await wait_until(lambda: steps(folder / "did") > 1)
            service.process.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(service.process.wait, PATIENCE) == 0
        reset(half[1])
