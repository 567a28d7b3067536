"""Minutes of mixed clients, well-behaved and not, against one service: `make soak SECONDS=300`.

Prints what the service holds every ten seconds. Fails when its resident memory grows after the
warm-up, when descriptors or tasks stay behind, or when its log tells of a mistake.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import grpc
import httpx

from tests.live.conftest import make_folder
from tests.live.grpc_calls import (
    SERVICE,
    channel,
    infer,
    jpeg_request,
    raw_request,
    text_request,
    triton_stream,
)
from tests.live.grpc_calls import stream as grpc_stream
from tests.live.images import jpeg
from tests.live.rest_calls import path, prompt
from tests.live.service import ROOT, Service
from tests.live.sockets import END, connect, reset, stream_request
from tests.live.vitals import MIB, SPARE_DESCRIPTORS, Vitals, at_rest, vitals

LOG = ROOT / "results" / "soak.log"
EVERY_SECONDS = 10.0
# Caches fill and arenas find their size in the first part of a run.
WARM_UP_SHARE = 0.25
# Resident memory at the end beside that after the warm-up.
MAX_GROWTH = 1.03
TEXT = "one two three four five six seven eight nine ten"
# What the log of a service must not hold; none of these clients makes a model fail.
MISTAKES = ("never awaited", "ResourceWarning", "Traceback", "was destroyed", "ERROR")

Client = Callable[[Service], Awaitable[None]]


async def reads_events(service: Service) -> None:
    reader, writer = await connect(service)
    writer.write(stream_request("text-model", prompt(TEXT, delay=random.choice([0, 0.01]))))
    answer = await reader.readuntil(END)
    assert answer.count(b"data:") == 10, answer
    writer.close()


async def reads_compressed_events(service: Service) -> None:
    async with httpx.AsyncClient(base_url=service.url, timeout=30) as client:
        answer = await client.post(path("text-model", "generate_stream"), json=prompt(TEXT))
        assert answer.headers["content-encoding"] == "gzip"
        assert answer.text.count("data:") == 10


async def hangs_up(service: Service) -> None:
    reader, writer = await connect(service)
    writer.write(stream_request("text-model", prompt(TEXT, delay=0.02)))
    for _ in range(random.randrange(4)):
        await reader.readuntil(b"\n\n")
    reset(writer)


async def streams_text(service: Service) -> None:
    requests = [text_request(TEXT, request_id=str(index)) for index in range(5)]
    assert len(await grpc_stream(service.grpc_address, requests)) == 50


async def cancels_a_stream(service: Service) -> None:
    async with channel(service.grpc_address) as connected:
        call = connected.stream_stream(SERVICE + "ModelStreamInfer")(timeout=30)
        await call.write(text_request(TEXT, delay=0.02).SerializeToString())
        await call.read()
        call.cancel()


async def streams_frames(service: Service) -> None:
    frames = [jpeg_request(jpeg(), request_id=str(index)) for index in range(20)]
    replies = await grpc_stream(service.grpc_address, frames)
    assert [reply.id for reply in replies] == [str(index) for index in range(20)]


async def speaks_tritons_dialect(service: Service) -> None:
    requests = [text_request(TEXT, request_id=str(index)) for index in range(5)]
    assert len(await triton_stream(service.triton_address, requests)) == 50


async def asks_once(service: Service) -> None:
    async with httpx.AsyncClient(base_url=service.url, timeout=30) as client:
        answer = await client.post(path("text-model", "infer"), json=prompt(TEXT))
        assert answer.status_code == 200
    reply = await infer(service.grpc_address, text_request(TEXT))
    assert reply.outputs[0].shape == [10]


async def sends_nonsense(service: Service) -> None:
    wrong = [b"", b"{", b"[]", b'{"inputs": []}', b'{"inputs": [{"name": 1}]}', b"\xff" * 100]
    async with httpx.AsyncClient(base_url=service.url, timeout=30) as client:
        for body in wrong:
            for model in ("text-model", f"no-{random.random()}"):
                answer = await client.post(path(model, "infer_stream"), content=body)
                assert 400 <= answer.status_code < 500, answer.text
    for message in (b"", b"\xff", raw_request("jpeg-model", "image", [b"no image"])):
        for send in (grpc_stream, triton_stream):
            address = service.grpc_address if send is grpc_stream else service.triton_address
            with suppress(grpc.aio.AioRpcError):
                await send(address, [message])
    reader, writer = await connect(service)
    writer.write(b"\0\1\2 no HTTP at all\r\n\r\n")
    assert b" 400 " in await reader.readline()
    writer.close()


CLIENTS: dict[Client, int] = {
    reads_events: 4,
    reads_compressed_events: 1,
    hangs_up: 2,
    streams_text: 2,
    cancels_a_stream: 1,
    streams_frames: 2,
    speaks_tritons_dialect: 2,
    asks_once: 1,
    sends_nonsense: 1,
}


async def repeat(client: Client, service: Service, until: float, done: Counter[str]) -> None:
    while time.monotonic() < until:
        async with asyncio.timeout(60):
            await client(service)
        done[client.__name__] += 1


async def soak(service: Service, seconds: float) -> list[str]:
    """Run all clients for so long; what is wrong with the service after that."""
    for client in CLIENTS:
        await client(service)
    before = await at_rest(service)
    done: Counter[str] = Counter()
    begun = time.monotonic()
    until = begun + seconds
    held: list[Vitals] = []
    async with asyncio.TaskGroup() as group:
        for client, count in CLIENTS.items():
            for _ in range(count):
                group.create_task(repeat(client, service, until, done))
        while (now := time.monotonic()) < until:
            await asyncio.sleep(min(EVERY_SECONDS, until - now))
            held.append(await vitals(service))
            print(f"{time.monotonic() - begun:5.0f} s  {held[-1]}  {done.total()} runs", flush=True)
    after = await at_rest(service)
    print(f"before: {before}\nafter:  {after}")
    print("runs:", ", ".join(f"{name} {count}" for name, count in done.most_common()))
    warm = held[int(len(held) * WARM_UP_SHARE) :]
    return [*grown(warm), *left_behind(before, after)]


def grown(held: list[Vitals]) -> list[str]:
    third = max(1, len(held) // 3)
    first, last = (
        statistics.median(each.resident for each in part) for part in (held[:third], held[-third:])
    )
    growth = last / first
    print(f"resident memory at work: {first / MIB:.1f} -> {last / MIB:.1f} MiB ({growth - 1:+.1%})")
    return [f"memory has grown by {growth - 1:.1%}"] if growth > MAX_GROWTH else []


def left_behind(before: Vitals, after: Vitals) -> list[str]:
    wrong = []
    if after.descriptors > before.descriptors + SPARE_DESCRIPTORS:
        wrong.append(f"{after.descriptors - before.descriptors} descriptors stay open")
    if after.tasks > before.tasks:
        wrong.append(f"{after.tasks - before.tasks} tasks stay behind")
    return wrong


def mistakes(log: Path) -> list[str]:
    lines = log.read_text(errors="replace").splitlines()
    return [line for line in lines if any(mistake in line for mistake in MISTAKES)]


def main(seconds: float) -> int:
    LOG.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        folder = make_folder(Path(scratch) / "service")
        with Service(folder, LOG, PYTHONWARNINGS="always") as service:
            wrong = asyncio.run(soak(service, seconds))
        if service.process.returncode != 0:
            wrong.append(f"it ended with status {service.process.returncode}")
        wrong += mistakes(service.log)[:20]
    for each in wrong:
        print("WRONG:", each)
    print(f"soak failed; its log: {LOG}" if wrong else "soak passed")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]) if len(sys.argv) > 1 else 300.0))
