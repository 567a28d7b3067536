"""Streams that outlive their replicas: two of them, a store, and clients that come back."""

from __future__ import annotations

import asyncio
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from clients.grpc_client import GrpcTextClient
from clients.sse_client import SseClient
from clients.stream_place import StreamPlace
from tests.redis_server import RedisServer, needs_redis
from tests.scale.cluster import BRIDGE, Cluster, wait_for
from tests.scale.gated.gated import AT_ONCE, COUNT

pytestmark = needs_redis
STREAMS = 50
GATED = Path(__file__).parent / "gated"


@pytest.fixture(scope="module")
def two(network: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    address = ("--bind", "127.0.0.1", BRIDGE, "--protected-mode", "no")
    with RedisServer(*address) as redis:
        # On a machine that others keep busy.
        store = {"url": f"redis://{BRIDGE}:{redis.port}", "timeout_seconds": 2}
        folder = tmp_path_factory.mktemp("kept")
        cluster = Cluster(folder, 2, first=21, cache={}, resume={"store": store})
        shutil.copytree(GATED, folder / "served" / "model-settings" / "gated")
        with cluster:
            yield cluster


class Stream:
    """A client's."""

    def __init__(self) -> None:
        self.words: list[str] = []
        self.place = StreamPlace()

    async def read(self, client: SseClient | GrpcTextClient, gate: Path) -> None:
        async for word in client.words(str(gate), {"resumable": True}, self.place):
            self.words.append(word)


async def test_streams_outlive_one_replica_that_is_killed_and_one_that_stops(
    two: Cluster, tmp_path: Path
) -> None:
    killed, stopped = two.replicas
    streams = [Stream() for _ in range(STREAMS)]
    gate = tmp_path / "gate"

    async def all_hear(count: int) -> None:
        heard = lambda: all(len(each.words) == count for each in streams)  # noqa: E731
        await asyncio.to_thread(wait_for, heard)

    patient = {"host": two.address, "model": "gated", "timeout": 240}
    sse = SseClient(port=8080, **patient)
    async with GrpcTextClient(port=8081, **patient) as rpc, asyncio.TaskGroup() as tasks:
        for number, each in enumerate(streams):
            tasks.create_task(each.read((sse, rpc)[number % 2], gate))
        await all_hear(AT_ONCE)
        killed.send(signal.SIGKILL)
        (tmp_path / "gate1").touch()
        await all_hear(2 * AT_ONCE)
        await asyncio.to_thread(killed.process.wait)
        await asyncio.to_thread(two.whole)  # it is started again
        stopped.send(signal.SIGTERM)
        assert await asyncio.to_thread(stopped.process.wait) == 0
        (tmp_path / "gate2").touch()
    said = [f"{number} " for number in range(1, COUNT + 1)]
    assert [each.words for each in streams] == [said] * STREAMS
    times = [each.place.times for each in streams]
    print(f"{STREAMS} streams whole; came back {sum(times)} times")
    # Those of the first had to at once, and all of them when the second stopped.
    assert (min(times), max(times)) == (1, 2)
