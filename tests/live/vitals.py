"""How a running service is: its memory, its file descriptors, its tasks."""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.live.processes import workers
from tests.live.rest_calls import path, probe, tensor
from tests.live.service import Service
from tests.live.watch import PATIENCE

MIB = 1024 * 1024
# For a service whose memory is looked at: all of it in one heap of glibc's, which gives back each
# page that nothing uses. Python's own arenas, and one heap a thread, stay half full for long.
EXACT_MEMORY = {"PYTHONMALLOC": "malloc", "MALLOC_ARENA_MAX": "1"}
# gRPC's threads open and close descriptors of their own.
SPARE_DESCRIPTORS = 4


@dataclass(frozen=True)
class Vitals:
    """What a service and its workers hold: bytes of resident memory, file descriptors; and the
    asyncio tasks of the one that tells."""

    resident: int
    descriptors: int
    tasks: int

    def __str__(self) -> str:
        resident = f"{self.resident / MIB:.1f} MiB"
        return f"{resident}, {self.descriptors} descriptors, {self.tasks} tasks"


def resident(pid: int) -> int:
    """Bytes of resident memory (proc(5), VmRSS)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise ProcessLookupError(pid)


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


async def vitals(service: Service) -> Vitals:
    """Asks the model `insides`, which also gives back the memory that nothing uses."""
    body = {"inputs": [tensor("x", ["x"])]}
    async with httpx.AsyncClient(base_url=service.url, timeout=30) as client:
        answer = await client.post(path("insides", "infer"), json=body)
        tasks = answer.json()["outputs"][0]["data"][0]
        at_work = workers(service)
        while at_work - await trimmed(client, len(at_work)):
            pass  # another stream has taken a worker's turn
        pids = [service.process.pid, *at_work]
        return Vitals(sum(map(resident, pids)), sum(map(descriptors, pids)), tasks)


async def trimmed(client: httpx.AsyncClient, count: int) -> set[int]:
    """Let so many workers give back the memory that nothing uses; which did."""
    body = probe(trim=True)
    # At once: one after another they would all go to the worker that was given least so far.
    asked = (client.post(path("process", "infer"), json=body) for _ in range(2 * count))
    answers = await asyncio.gather(*asked)
    return {answer.json()["outputs"][0]["data"][0] for answer in answers}


async def at_rest(service: Service) -> Vitals:
    """The same, once nothing changes any more: what came before may still be cleared away."""
    found = await vitals(service)
    async with asyncio.timeout(PATIENCE):
        while True:
            await asyncio.sleep(0.1)
            earlier, found = found, await vitals(service)
            if (found.descriptors, found.tasks) == (earlier.descriptors, earlier.tasks):
                return found


async def recovered(service: Service, before: Vitals, growth: int = 8 * MIB) -> Vitals:
    """Wait until a service holds no more than before; what it holds.

    Args:
        growth: bytes that it may keep: caches that fill, pages that are half used.

    Raises:
        AssertionError: it does not get there.
    """
    deadline = time.monotonic() + PATIENCE
    while True:
        now = await vitals(service)
        if (
            now.resident <= before.resident + growth
            and now.descriptors <= before.descriptors + SPARE_DESCRIPTORS
            and now.tasks <= before.tasks
        ):
            return now
        assert time.monotonic() < deadline, f"before: {before}; now: {now}"
        await asyncio.sleep(0.1)
