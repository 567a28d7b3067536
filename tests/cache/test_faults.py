"""memcached fails in the middle of a hundred streams: every stream gets its whole answer."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from mlserver import MLModel
from mlserver.types import InferenceRequest, InferenceResponse

from mlserver_streaming.cache.memcached import PREFIX
from mlserver_streaming.streams.answers import One
from mlserver_streaming.streams.data_plane import StreamingDataPlane
from tests.memcached import FakeMemcached, Memcached, dead_port, needs_memcached
from tests.streams.planes import answer, ask, asked, plane_of, said

STREAMS, WORDS = 100, 20
# No stream may hang: all of them take a tenth of a second.
ALL_SECONDS = 60


class Slow(MLModel):
    """A word at a time."""

    async def predict_stream(
        self, payloads: AsyncIterator[InferenceRequest]
    ) -> AsyncIterator[InferenceResponse]:
        async for request in payloads:
            for word in asked(request).split(" "):
                await asyncio.sleep(0.003)
                yield answer(word)


def settings(folder: Path, server: str, **cache: Any) -> None:
    block = {"backend": "memcached", "servers": [server], "retry_seconds": 0.05, **cache}
    (folder / "settings.json").write_text(json.dumps({"streaming": {"cache": block}}))


async def get_all(plane: StreamingDataPlane, round_: int = 0) -> dict[str, int]:
    """Ask a hundred at once, half of them the same questions; how their answers came."""
    ways: dict[str, int] = {}

    async def one(number: int) -> None:
        text = " ".join(f"{round_}-{number // 2}-{word}" for word in range(WORDS))
        request = ask(text, str(number))
        words: list[str] = []
        async with aclosing(plane.infer_stream(One(request), "m")) as responses:
            async for response in responses:
                words += said(response)
                assert response.id == str(number)
        assert words == text.split(" ")
        way = response.parameters.cache
        ways[way] = ways.get(way, 0) + 1

    async with asyncio.timeout(ALL_SECONDS):
        await asyncio.gather(*map(one, range(STREAMS)))
    return ways


async def stored(plane: StreamingDataPlane) -> None:
    """Wait until all that was answered is stored: nobody who asks waits for that."""
    while plane.cache._flights:
        await asyncio.gather(*(each._task for each in plane.cache._flights.values() if each._task))


async def amid(plane: StreamingDataPlane, *faults: Callable[[], Any], round_: int = 0) -> None:
    """The faults, one after another, while a hundred streams are at work."""
    streams = asyncio.create_task(get_all(plane, round_))
    for fault in faults:
        await asyncio.sleep(0.015)
        done = fault()
        if isinstance(done, Awaitable):
            await done
    await streams


@needs_memcached
async def test_killed_restarted_hung_and_going_on(tmp_path: Path) -> None:
    with Memcached() as server:
        settings(tmp_path, server.address)
        async with plane_of(tmp_path, {"m": Slow}, cached=True) as plane:
            first = await get_all(plane)
            assert first == {"miss": 50, "joined": 50}
            await amid(plane, server.kill)
            await amid(plane, server.start)
            await amid(plane, server.kill, server.start, round_=1)
            await amid(plane, server.hang, round_=2)
            await amid(plane, round_=0)
            await amid(plane, server.go_on, round_=2)
            await amid(plane, server.hang, server.go_on, round_=3)
            # In the end it serves as if nothing had been.
            for _ in range(100):
                ways = await get_all(plane, 4)
                if ways == {"hit": STREAMS}:
                    break
            assert ways == {"hit": STREAMS}


@needs_memcached
async def test_full(tmp_path: Path) -> None:
    with Memcached(megabytes=2) as server:
        settings(tmp_path, server.address)
        noise = os.urandom(200_000)
        async with plane_of(tmp_path, {"m": Slow}, cached=True) as plane:

            def fill() -> None:
                for n in range(20):
                    server.put(b"other-%d" % n, noise)

            for round_ in range(3):
                await amid(plane, fill, round_=round_)


@needs_memcached
async def test_values_cut_and_poisoned(tmp_path: Path) -> None:
    with Memcached() as server:
        settings(tmp_path, server.address, timeout_seconds=1)
        async with plane_of(tmp_path, {"m": Slow}, cached=True) as plane:
            await get_all(plane)
            await stored(plane)
            keys = [key for key in server.stored() if key.startswith(PREFIX.encode())]
            assert len(keys) == STREAMS // 2
            values = [server.value(key) for key in keys]
            for number, (key, value) in enumerate(zip(keys, values, strict=True)):
                wrong = [
                    value[:-1],
                    value[: len(value) // 2],
                    values[number - 1],
                    os.urandom(len(value)),
                    b"\x80\x04\x95 a pickle that nobody loads",
                ]
                server.put(key, wrong[number % len(wrong)])
            assert await get_all(plane) == {"miss": 50, "joined": 50}
            await stored(plane)
            assert await get_all(plane) == {"hit": STREAMS}


@pytest.mark.parametrize("garbage", [b"\0\xff" * 100, b"garbage\r\n", b"END\r\nEND\r\n", b""])
async def test_answering_garbage(tmp_path: Path, garbage: bytes) -> None:
    async with FakeMemcached() as server:
        settings(tmp_path, server.address)
        async with plane_of(tmp_path, {"m": Slow}, cached=True) as plane:

            def talk_nonsense() -> None:
                server.answer = lambda line: garbage

            await amid(plane, talk_nonsense)
            await amid(plane, round_=1)


async def test_never_there(tmp_path: Path) -> None:
    with dead_port() as port:
        settings(tmp_path, f"127.0.0.1:{port}")
        async with plane_of(tmp_path, {"m": Slow}, cached=True) as plane:
            for round_ in range(3):
                assert await get_all(plane, round_) == {"miss": 50, "joined": 50}


async def test_two_services_share_what_one_has_computed(tmp_path: Path) -> None:
    async with FakeMemcached() as server:
        settings(tmp_path, server.address, timeout_seconds=1)
        async with plane_of(tmp_path, {"m": Slow}, cached=True) as plane:
            assert await get_all(plane) == {"miss": 50, "joined": 50}
            await stored(plane)
        async with plane_of(tmp_path, {"m": Slow}, cached=True) as plane:
            assert await get_all(plane) == {"hit": STREAMS}
        # Of the question, the model and the caller, the server knows nothing.
        for key in server.values:
            assert b"m" not in key.removeprefix(PREFIX.encode()) and len(key) <= 250
