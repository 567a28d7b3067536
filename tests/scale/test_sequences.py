"""Sequences find their replica, and what a resized set of replicas does to them."""

from __future__ import annotations

import signal

import pytest

from tests.scale.asks import GRPC, SSE, TRITON, WIRES, Asks, RefusedError
from tests.scale.cluster import Cluster

NAMES = [f"camera-{index}" for index in range(24)]


async def begin(asks: Asks, wire: str, prefix: str) -> dict[str, int]:
    """Which replica each new sequence is on."""
    found = {}
    for name in NAMES:
        sequence = {"sequence_id": f"{prefix}-{name}", "sequence_start": True}
        [found[name]] = await asks.whole(wire, "process", **sequence)
    return found


@pytest.mark.parametrize("wire", WIRES)
async def test_requests_of_a_sequence_meet_on_one_replica(
    wire: str, cluster: Cluster, asks: Asks
) -> None:
    for count in range(1, 5):
        for name in NAMES:
            sequence = {"sequence_id": f"{wire}-{name}", "sequence_start": count == 1}
            assert await asks.whole(wire, "own-tally", **sequence) == [count]
    assert len(set((await begin(asks, wire, wire)).values())) == 3


async def test_both_grpc_dialects_find_the_same_replica(cluster: Cluster, asks: Asks) -> None:
    for name in NAMES:
        begun = await asks.whole(GRPC, "process", sequence_id=name, sequence_start=True)
        assert await asks.whole(TRITON, "process", sequence_id=name) == begun


async def test_most_stay_where_they_are_when_a_replica_joins_and_the_others_are_told(
    cluster: Cluster, asks: Asks
) -> None:
    newcomer = cluster.replicas[0]
    newcomer.send(signal.SIGTERM)
    newcomer.process.wait()
    began = await begin(asks, SSE, "moved")
    assert len(set(began.values())) == 2
    cluster.whole()
    moved = 0
    for name in NAMES:
        try:
            [pid] = await asks.whole(SSE, "process", sequence_id=f"moved-{name}")
        except RefusedError as error:
            moved += 1
            assert error.status == 400
            assert "START" in str(error)
        else:
            assert pid == began[name]
    assert 0 < moved < len(NAMES) / 2
