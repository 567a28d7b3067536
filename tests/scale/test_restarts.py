"""Replicas go and come: which streams are lost, and which never know."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from pathlib import Path

import pytest

from tests.live.watch import wait_until
from tests.scale.asks import WIRES, Asks, CutError, Load
from tests.scale.cluster import Cluster

TEXT = " ".join(map(str, range(20)))
# How often all replicas are restarted under MANY streams: ten is what was asked for once.
ROUNDS = int(os.environ.get("SCALE_ROUNDS", "1"))
MANY = 200


async def restart(cluster: Cluster, index: int) -> int:
    """As a rollout does it: SIGTERM, wait, start the next; its exit status."""
    replica = cluster.replicas[index]
    replica.send(signal.SIGTERM)
    status = await asyncio.to_thread(replica.process.wait)
    await asyncio.to_thread(replica.start)
    await asyncio.to_thread(cluster.whole)
    return status


async def test_rolling_restarts_of_all_lose_nothing(cluster: Cluster, asks: Asks) -> None:
    async with Load(asks, MANY, TEXT, delay=0.25) as load:
        for _ in range(ROUNDS):  # of three restarts each
            for index in range(3):
                before = load.answered
                assert await restart(cluster, index) == 0
                assert load.answered > before
            print(f"{load.answered} streams whole; asked again: {dict(asks.again)}", flush=True)
            assert Counter(load.lost) == {}
    assert Counter(load.lost) == {}


async def held(asks: Asks, wire: str, gate: Path, seen: list[int]) -> None:
    """A stream of two responses, the second once the gate is open."""
    async for pid in asks.values(wire, "process", steps=2, gate=str(gate)):
        seen.append(pid)


async def open_streams(
    asks: Asks, gate: Path, each: int
) -> list[tuple[asyncio.Task[None], list[int]]]:
    """Streams over each wire that have had their first response."""
    found = []
    for wire in WIRES * each:
        seen: list[int] = []
        found.append((asyncio.create_task(held(asks, wire, gate, seen)), seen))
    await wait_until(lambda: all(seen for _, seen in found))
    return found


async def test_a_killed_replica_takes_its_own_streams_only(
    cluster: Cluster, asks: Asks, tmp_path: Path
) -> None:
    streams = await open_streams(asks, tmp_path / "gate", 6)
    pids = {seen[0] for _, seen in streams}
    assert pids == {replica.pid for replica in cluster.replicas}  # spread over all
    victim = cluster.replicas[1]
    victim.send(signal.SIGKILL)
    for task, seen in streams:
        if seen[0] == victim.pid:
            with pytest.raises(CutError):
                await task
    # New ones at once, before anybody knows more than a refused connection.
    for wire in WIRES:
        [pid] = await asks.whole(wire, "process")
        assert pid != victim.pid
    (tmp_path / "gate1").touch()
    for task, seen in streams:
        if seen[0] != victim.pid:
            await task
            assert seen == [seen[0]] * 2
