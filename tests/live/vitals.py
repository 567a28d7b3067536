"""How a running service is: its memory, its file descriptors, its tasks."""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import dataclass
from pathlib import Path

import httpx

from .rest_calls import path, tensor
from .service import Service
from .watch import PATIENCE

MIB = 1024 * 1024


@dataclass(frozen=True)
class Vitals:
    """What a service holds: bytes of resident memory, file descriptors, asyncio tasks."""

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
        pid = service.process.pid
        return Vitals(resident(pid), descriptors(pid), tasks)


async def recovered(service: Service, before: Vitals, growth: int = 4 * MIB) -> Vitals:
    """Wait until a service holds no more than before; what it holds.

    Args:
        growth: bytes that it may keep: caches that fill, arenas that cannot be given back.

    Raises:
        AssertionError: it does not get there.
    """
    deadline = time.monotonic() + PATIENCE
    while True:
        now = await vitals(service)
        if (
            now.resident <= before.resident + growth
            and now.descriptors <= before.descriptors
            and now.tasks <= before.tasks
        ):
            return now
        assert time.monotonic() < deadline, f"before: {before}; now: {now}"
        await asyncio.sleep(0.1)
