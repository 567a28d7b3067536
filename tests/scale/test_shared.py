"""What replicas share, and what each has for itself."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest

from tests.live.keyed import add_key
from tests.live.rest_calls import path, prompt
from tests.live.watch import wait_until
from tests.scale.asks import GRPC, SSE, Asks, RefusedError
from tests.scale.cluster import REMEMBERED, Cluster


async def test_a_miss_on_one_replica_is_a_hit_on_another(cluster: Cluster) -> None:
    async with httpx.AsyncClient(timeout=30, trust_env=False) as client:
        said = []
        for replica in cluster.replicas:
            url = replica.url + path(REMEMBERED, "infer")
            answer = (await client.post(url, json=prompt("said once"))).json()
            said.append(answer["parameters"]["cache"])
            assert "".join(answer["outputs"][0]["data"]) == "said once"
    assert said == ["miss", "hit", "hit"]


PER_KEY, CALLERS = 2, ("camera", "desk", "phone")


@pytest.fixture(scope="module")
def keyed(
    network: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Cluster, dict[str, str]]]:
    """Two replicas, each with so many streams for a key and none that wait; the callers' keys."""
    folder = tmp_path_factory.mktemp("keyed")
    keys = {name: add_key(folder / "keys.json", name, "--role", "infer") for name in CALLERS}
    limits = {"streams_per_key": PER_KEY, "waiting": 0}
    auth = {"keys_file": str(folder / "keys.json")}
    with Cluster(folder, 2, first=11, limits=limits, auth=auth, cache={}) as cluster:
        yield cluster, keys


async def test_callers_keep_their_limits_on_each_replica(
    keyed: tuple[Cluster, dict[str, str]], tmp_path: Path
) -> None:
    """Six streams at once of each caller: no replica runs more of one's than its limit."""
    cluster, keys = keyed
    running: dict[str, list[int]] = {name: [] for name in CALLERS}
    refused: dict[str, list[object]] = {name: [] for name in CALLERS}

    async def ask(name: str, asks: Asks, wire: str) -> None:
        try:
            async for pid in asks.values(wire, "process", steps=2, gate=str(tmp_path / "gate")):
                running[name].append(pid)
        except RefusedError as error:
            refused[name].append(error.status)

    async with AsyncExitStack() as stack:
        tasks = []
        for name, key in keys.items():
            asks = await stack.enter_async_context(Asks(cluster, key))
            tasks += [asyncio.create_task(ask(name, asks, wire)) for wire in (SSE, GRPC) * 3]
        await wait_until(
            lambda: all(len(running[name]) + len(refused[name]) == 6 for name in CALLERS)
        )
        for name in CALLERS:
            assert len(running[name]) >= PER_KEY
            assert max(Counter(running[name]).values()) <= PER_KEY
            assert set(refused[name]) <= {429, "RESOURCE_EXHAUSTED"}
        (tmp_path / "gate1").touch()
        await asyncio.gather(*tasks)
