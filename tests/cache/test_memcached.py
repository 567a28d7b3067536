"""Recordings in memcached: a real one where it is installed, and one made here."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from prometheus_client import REGISTRY

from mlserver_streaming.cache import memcached as module
from mlserver_streaming.cache.envelope import seal
from mlserver_streaming.cache.figures import CacheFigures
from mlserver_streaming.cache.memcached import PREFIX, MemcachedStore
from mlserver_streaming.cache.memcached_server import MemcachedServer
from mlserver_streaming.recordings.recorded import Recorded, data_of
from mlserver_streaming.recordings.recording import (
    CHUNK_RESPONSES,
    Chunk,
    Recording,
    encode,
    record,
)
from mlserver_streaming.settings import CacheSettings
from tests.memcached import FakeMemcached, Memcached, dead_port, needs_memcached
from tests.streams.planes import answer

# No test waits for it: it is there for servers that are broken.
PATIENT = {"timeout_seconds": 1.0, "retry_seconds": 60.0}


def store_of(
    figures: CacheFigures, *servers: Any, secret: bytes = b"", **settings: Any
) -> MemcachedStore:
    addresses = tuple(getattr(server, "address", server) for server in servers)
    given = {**PATIENT, **settings}
    given |= {"backend": "memcached", "servers": addresses}
    return MemcachedStore(CacheSettings(**given), figures, secret)


@asynccontextmanager
async def a_server(kind: str) -> AsyncIterator[FakeMemcached | Memcached]:
    if kind == "fake":
        async with FakeMemcached() as fake:
            yield fake
    else:
        with Memcached() as real:
            yield real


KINDS = pytest.mark.parametrize("kind", ["fake", pytest.param("real", marks=needs_memcached)])


async def words(*texts: str) -> Recording:
    found = await record([Recorded.of(answer(text), n / 10) for n, text in enumerate(texts)])
    assert found is not None
    return found


def said(recording: Recording | None) -> list[str] | None:
    if recording is None:
        return None
    return [text for each in recording for output in each.outputs for text in data_of(output)]


async def has(store: MemcachedStore, *texts: str) -> bool:
    return said(await store.get("a")) == list(texts)


def malformed() -> float:
    return REGISTRY.get_sample_value("cache_backend_errors_total", {"reason": "malformed"}) or 0.0


async def until(is_so: Callable[[], Awaitable[bool]]) -> None:
    """Ask until it is so; a server that was left alone is tried again after a while."""
    for _ in range(1000):
        if await is_so():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it never was")


def errors(reason: str) -> float:
    found = REGISTRY.get_sample_value("cache_backend_errors_total", {"reason": reason})
    assert found is not None
    return found


# -- values --


@KINDS
async def test_what_was_put_is_got(figures: CacheFigures, kind: str):
    async with a_server(kind) as server:
        store = store_of(figures, server)
        assert await store.get("a") is None
        assert await store.put("a", await words("one", "two"))
        assert said(await store.get("a")) == ["one", "two"]
        assert await store.put("a", await words("three"))
        assert said(await store.get("a")) == ["three"]
        assert said(await store_of(figures, server).get("a")) == ["three"]
        await store.close()


@KINDS
async def test_a_value_past_the_item_limit_is_split_and_put_together_again(
    figures: CacheFigures, kind: str
):
    noise = os.urandom(100_000).hex()
    async with a_server(kind) as server:
        store = store_of(figures, server, value_bytes=16 * 1024)
        assert await store.put("a", await words(noise, "end"))
        assert said(await store.get("a")) == [noise, "end"]
        whole = store_of(figures, server, value_bytes=16 * 1024, split=False)
        assert not await whole.put("b", await words(noise))
        assert await whole.get("b") is None
        for each in (store, whole):
            await each.close()


async def test_a_value_of_which_a_part_is_gone_is_a_miss(figures: CacheFigures):
    async with FakeMemcached() as server:
        store = store_of(figures, server, value_bytes=16 * 1024)
        key = PREFIX + "a"
        await store.put("a", await words(os.urandom(100_000).hex()))
        parts = [name for name in server.values if name != key.encode()]
        assert len(parts) > 3
        one, other = parts[1], parts[2]
        kept = dict(server.values)
        del server.values[one]
        assert await store.get("a") is None
        server.values = {**kept, one: kept[one][:-1]}
        assert await store.get("a") is None
        server.values = {**kept, one: kept[other], other: kept[one]}
        assert await store.get("a") is None
        server.values = kept
        assert await store.get("a") is not None
        # An older value's parts are not mixed with a newer one's.
        await store.put("a", await words(os.urandom(100_000).hex()))
        server.values[key.encode()] = kept[key.encode()]
        assert await store.get("a") is not None
        await store.close()


@KINDS
async def test_long_streams_are_compressed(figures: CacheFigures, kind: str):
    async with a_server(kind) as server:
        store = store_of(figures, server)
        recording = await words(*["What is the capital of France?"] * 500)
        await store.put("a", recording)
        assert said(await store.get("a")) == ["What is the capital of France?"] * 500
        if isinstance(server, FakeMemcached):
            assert len(server.values[(PREFIX + "a").encode()]) < recording.size / 5
        await store.close()


@KINDS
async def test_garbage_under_a_key_is_a_miss_and_counted(figures: CacheFigures, kind: str):
    async with a_server(kind) as server:
        store = store_of(figures, server)
        await store.put("a", await words("one", "two"))
        key = (PREFIX + "a").encode()
        good = server.values[key] if isinstance(server, FakeMemcached) else server.value(key)
        head = encode([Recorded.of(answer("a"), 0)]).head
        forged = seal(key, Recording([Chunk(head[:-3], ())]), None)
        wrong = [
            b"",
            b"OK",
            os.urandom(1000),
            good[:-1],
            good[: len(good) // 2],
            good + b"x",
            seal(b"another key", await words("one"), None),
            forged,
            module.INDEX.pack(module.SPLIT, 1, 10**9, bytes(16)),
            module.INDEX.pack(module.SPLIT, 10**6, 10, bytes(16)),
            module.SPLIT,
        ]
        for value in wrong:
            if isinstance(server, FakeMemcached):
                server.values[key] = value
            else:
                server.put(key, value)
            assert await store.get("a") is None, value
        assert errors("malformed") == len(wrong)
        assert errors("timeout") == errors("connection") == 0
        # What is put then takes the garbage's place.
        await store.put("a", await words("three"))
        assert said(await store.get("a")) == ["three"]
        await store.close()


async def test_a_recording_is_read_to_its_end_before_any_of_it_is_given(figures: CacheFigures):
    async with FakeMemcached() as server:
        store = store_of(figures, server)
        good = (await words(*["a"] * CHUNK_RESPONSES)).chunks[0]
        key = (PREFIX + "a").encode()
        server.values[key] = seal(key, Recording([good, Chunk(b"[1]", ())]), None)
        assert await store.get("a") is None
        await store.close()


@needs_memcached
async def test_a_stream_expires(figures: CacheFigures):
    with Memcached() as server:
        store = store_of(figures, server, seconds=3600)
        await store.put("a", await words("one"))
        dumped = server.command(b"lru_crawler metadump all").decode()
        expires = int(dumped.partition("exp=")[2].split()[0])
        now = int(server.command(b"stats").decode().partition("STAT time ")[2].split()[0])
        assert 3590 <= expires - now <= 3602
        await store.close()


@pytest.mark.parametrize(
    ("seconds", "expires"), [(1, 2), (1.9, 3), (0.01, 2), (3600, 3601), (30 * 86_400, 30 * 86_400)]
)
async def test_a_stream_is_kept_for_its_seconds_whenever_the_servers_clock_ticks(
    figures: CacheFigures, monkeypatch: pytest.MonkeyPatch, seconds: float, expires: int
):
    given: list[int] = []

    async def note(server: Any, key: bytes, value: bytes, expires: int, seconds: float) -> bool:
        given.append(expires)
        return True

    monkeypatch.setattr(MemcachedServer, "set", note)
    settings = CacheSettings(backend="memcached", servers=("127.0.0.1:1",), seconds=seconds)
    await MemcachedStore(settings, figures).put("a", await words("one"))
    assert given == [expires]


@needs_memcached
async def test_what_is_removed_is_gone(figures: CacheFigures):
    with Memcached() as server:
        store = store_of(figures, server)
        await store.put("a", await words("one"))
        await store.put("b", await words("two"))
        await store.remove("a")
        await store.remove("c")
        assert await store.get("a") is None
        assert await store.get("b") is not None
        await store.close()


@needs_memcached
async def test_a_full_server_drops_what_is_old_and_fails_nobody(figures: CacheFigures):
    with Memcached(megabytes=8) as server:
        store = store_of(figures, server)
        for n in range(400):
            await store.put(str(n), await words(os.urandom(40_000).hex()))
            await store.get(str(n // 2))
        assert await store.get("0") is None
        await store.close()


async def test_a_server_that_refuses_values_still_gives_them(figures: CacheFigures):
    async with FakeMemcached() as server:
        store = store_of(figures, server)
        await store.put("a", await words("one"))
        server.answer = lambda line: b"SERVER_ERROR out of memory storing object\r\n"
        for _ in range(5):
            assert not await store.put("b", await words("two"))
        server.answer = None
        assert said(await store.get("a")) == ["one"]
        assert errors("refused") == 5
        await store.close()


# -- several servers --


async def test_each_key_has_a_server_and_keeps_it_when_another_comes(figures: CacheFigures):
    async with FakeMemcached() as a, FakeMemcached() as b, FakeMemcached() as c:
        two, three = store_of(figures, a, b), store_of(figures, a, b, c)
        for n in range(60):
            await two.put(str(n), await words(str(n)))
        assert min(len(a.values), len(b.values)) > 10
        found = [said(await three.get(str(n))) == [str(n)] for n in range(60)]
        # A third of the keys belong to the new server now; all others are where they were.
        assert 25 < sum(found) < 55
        assert [n for n in range(60) if not found[n]] == [
            n for n in range(60) if (PREFIX + str(n)).encode() in c.gets
        ]
        for store in (two, three):
            await store.close()


async def test_one_server_of_two_that_is_down_costs_its_own_keys_only(figures: CacheFigures):
    with dead_port() as port:
        async with FakeMemcached() as server:
            store = store_of(figures, server, f"127.0.0.1:{port}")
            stored = [await store.put(str(n), await words(str(n))) for n in range(40)]
            assert 5 < sum(stored) < 35
            assert [await store.get(str(n)) is not None for n in range(40)] == stored
            assert errors("connection") == 4  # two to store, two to read
            await store.close()


# -- faults --


async def test_a_server_that_does_not_answer_is_left_alone_and_tried_again(figures: CacheFigures):
    async with FakeMemcached() as server:
        store = store_of(figures, server, timeout_seconds=0.01, retry_seconds=0.2)
        await store.put("a", await words("one"))
        server.answer = lambda line: None
        server.gets.clear()
        for _ in range(50):
            assert await store.get("a") is None
        assert len(server.gets) == 2
        assert errors("timeout") == 2
        server.answer = None
        await until(lambda: has(store, "one"))
        assert len(server.gets) == 3
        await store.close()


async def test_one_answer_that_is_late_is_no_other_s(figures: CacheFigures):
    async with FakeMemcached() as server:
        store = store_of(figures, server, timeout_seconds=0.05)
        await store.put("a", await words("one"))
        await store.put("b", await words("two"))
        late = asyncio.Event()
        answered = server._answered

        async def slow(*arguments: Any) -> bytes:
            if not late.is_set():
                await late.wait()
            return await answered(*arguments)

        server._answered = slow  # type: ignore[method-assign]
        assert await store.get("a") is None
        late.set()
        assert said(await store.get("b")) == ["two"]
        await store.close()


@pytest.mark.parametrize(
    "garbage",
    [
        b"garbage\r\n",
        b"\0\xff" * 500,
        b"END\r\nEND\r\n",
        b"VALUE\r\nEND\r\n",
        b"VALUE %b 0 999999999\r\nx\r\nEND\r\n" % (PREFIX + "a").encode(),
        b"VALUE %b 0 -5\r\nx\r\nEND\r\n" % (PREFIX + "a").encode(),
        b"VALUE other 0 1\r\nx\r\nEND\r\n",
        b"ERROR\r\n",
        b"CLIENT_ERROR bad command\r\n",
        b"STORED\r\n",
    ],
)
async def test_a_server_that_talks_nonsense_is_a_miss(figures: CacheFigures, garbage: bytes):
    async with FakeMemcached() as server:
        store = store_of(figures, server, timeout_seconds=0.02, retry_seconds=0.05)
        await store.put("a", await words("one"))
        server.answer = lambda line: garbage
        for _ in range(4):
            assert await store.get("a") is None
            await store.put("b", await words("two"))
        server.answer = None
        await until(lambda: has(store, "one"))
        await store.close()


async def test_a_connection_that_breaks_off_is_a_miss(figures: CacheFigures):
    async def rude(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b"VALUE ")
        writer.close()

    server = await asyncio.start_server(rude, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    store = store_of(figures, f"127.0.0.1:{port}")
    for _ in range(3):
        assert await store.get("a") is None
        assert not await store.put("a", await words("one"))
    await store.close()
    server.close()


async def test_many_who_ask_the_same_at_once_ask_the_server_once(figures: CacheFigures):
    async with FakeMemcached() as server:
        store = store_of(figures, server)
        await store.put("a", await words("one"))
        server.gets.clear()
        found = await asyncio.gather(*(store.get("a") for _ in range(1000)))
        assert all(said(each) == ["one"] for each in found)
        assert len(server.gets) == 1
        await store.close()


async def test_one_who_goes_takes_no_other_s_answer_with_him(figures: CacheFigures):
    async with FakeMemcached() as server:
        store = store_of(figures, server)
        await store.put("a", await words("one"))
        first = asyncio.create_task(store.get("a"))
        second = asyncio.create_task(store.get("a"))
        await asyncio.sleep(0)
        first.cancel()
        assert said(await second) == ["one"]
        await store.close()


async def test_more_than_may_wait_are_not_stored(
    figures: CacheFigures, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "PUTS_AT_ONCE", 2)
    async with FakeMemcached() as server:
        store = store_of(figures, server)
        recording = await words("one")
        stored = await asyncio.gather(*(store.put(str(n), recording) for n in range(5)))
        assert sum(stored) == 2
        assert errors("busy") == 3
        await store.close()


@needs_memcached
async def test_a_server_that_is_killed_hung_or_back_again(figures: CacheFigures):
    with Memcached() as server:
        store = store_of(figures, server, timeout_seconds=0.05, retry_seconds=0.1)

        recording = await words("one")

        async def works() -> None:
            await until(lambda: store.put("a", recording))
            await until(lambda: has(store, "one"))

        async with asyncio.timeout(30):
            await works()
            server.hang()
            for n in range(1000):
                assert await store.get(str(n)) is None
            assert errors("timeout") < 100
            server.go_on()
            await works()
            server.kill()
            for n in range(1000):
                assert await store.get(str(n)) is None
            server.start()
            await works()
        await store.close()


@KINDS
async def test_who_does_not_know_the_secret_plants_nothing(kind: str, figures: CacheFigures):
    async with a_server(kind) as server:
        ours = store_of(figures, server, secret=b"sixteen characters", value_bytes=16 * 1024)
        long = os.urandom(20_000).hex()
        planted: list[tuple[Any, str]] = [
            (store_of(figures, server), "planted"),
            (store_of(figures, server, secret=b"the secret before"), "planted"),
            (store_of(figures, server, value_bytes=16 * 1024), long),
        ]
        for other, text in planted:
            assert await other.put("a", await words(text))
            before = malformed()
            assert await ours.get("a") is None
            assert malformed() == before + 1
        for text in ("said", long):
            assert await ours.put("a", await words(text))
            assert await has(ours, text)
        for store in (ours, *(each for each, _ in planted)):
            await store.close()


async def test_a_sealed_answer_moved_to_another_question_is_none(figures: CacheFigures):
    async with FakeMemcached() as server:
        store = store_of(figures, server, secret=b"sixteen characters")
        assert await store.put("a", await words("said"))
        [(key, value)] = server.values.items()
        server.values[key[:-1] + b"b"] = value
        before = malformed()
        assert await store.get("b") is None
        assert malformed() == before + 1
        assert await has(store, "said")
        await store.close()
