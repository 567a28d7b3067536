"""A replica that is there and does not answer, and a client that does not read."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from tests.live.grpc_calls import SERVICE, text_request
from tests.live.rest_calls import probe
from tests.live.sockets import stream_request
from tests.live.watch import steps
from tests.scale.asks import GRPC, WIRES, Asks, CutError
from tests.scale.cluster import Cluster, wait_for
from tests.scale.test_restarts import open_streams


@pytest.mark.parametrize("fault", ["partition", "hang"])
async def test_a_silent_replica_is_left_and_its_streams_end(
    fault: str, cluster: Cluster, asks: Asks, tmp_path: Path
) -> None:
    streams = await open_streams(asks, tmp_path / "gate", 3)
    victim = cluster.replicas[2]
    if fault == "partition":
        victim.node.cut()
    else:
        victim.send(signal.SIGSTOP)
    # Each is answered, if later: by another, or after HAProxy has noticed.
    answers = [asks.whole(wire, "process") for wire in WIRES * 4]
    for [pid] in await asyncio.gather(*answers):
        assert pid != victim.pid
    for task, seen in streams:
        if seen[0] == victim.pid:
            with pytest.raises(CutError):
                await task
    await asyncio.to_thread(wait_for, lambda: cluster.states(victim) == {"DOWN"})
    (tmp_path / "gate1").touch()
    for task, seen in streams:
        if seen[0] != victim.pid:
            await task
            assert seen == [seen[0]] * 2


async def test_it_is_asked_again_when_it_is_back(cluster: Cluster, asks: Asks) -> None:
    victim = cluster.replicas[2]
    victim.node.cut()
    await asyncio.to_thread(wait_for, lambda: cluster.states(victim) == {"DOWN"})
    await asyncio.to_thread(cluster.whole)
    pids = {pid for _ in range(9) for [pid] in [await asks.whole(GRPC, "process")]}
    assert victim.pid in pids


def settled(did: Path) -> int:
    """How many steps a model has taken, once it takes none any more."""
    seen = [-1]

    def stands() -> bool:
        seen.append(steps(did))
        return seen[-1] > 0 and len(seen) > 50 and seen[-1] == seen[-50]

    wait_for(stands)
    return seen[-1]


MANY = 200_000


async def test_a_reader_over_sse_that_does_not_read_stops_the_model(
    cluster: Cluster, asks: Asks, tmp_path: Path
) -> None:
    did = tmp_path / "did"
    body = probe(steps=MANY, path=str(did), size=1000)
    with socket.create_connection((cluster.address, 8080)) as deaf:
        deaf.sendall(stream_request("probe", body))
        made = await asyncio.to_thread(settled, did)
        assert made < MANY
    await asyncio.to_thread(wait_for, lambda: "closed" in did.read_text())


async def test_a_grpc_reader_that_does_not_read_stops_its_own_stream_only(
    cluster: Cluster, asks: Asks, tmp_path: Path
) -> None:
    did = tmp_path / "did"
    request = text_request("x", model="probe", steps=MANY, path=str(did), size=1000)
    async with grpc.aio.insecure_channel(cluster.grpc) as channel:
        call = channel.stream_stream(SERVICE + "ModelStreamInfer")()
        await call.write(request.SerializeToString())
        await call.read()
        made = await asyncio.to_thread(settled, did)
        assert made < MANY
        # On the same connection to HAProxy, and on its connections to each replica.
        for wire in WIRES * 6:
            async with asyncio.timeout(20):
                assert await asks.whole(wire, "text-model", "a b", delay=0) == ["a", " b"]
        for _ in range(6):
            other = channel.stream_stream(SERVICE + "ModelStreamInfer")
            async with asyncio.timeout(20):
                replies = other(_one(text_request("a b").SerializeToString()))
                assert len([reply async for reply in replies]) == 2
        call.cancel()
    await asyncio.to_thread(wait_for, lambda: "closed" in did.read_text())


async def _one(request: bytes) -> AsyncIterator[bytes]:
    yield request
