"""Recordings in this process: bounded, the least recently used go first, and expire."""

from __future__ import annotations

from mlserver_streaming.cache.memory import ENTRY_BYTES, MemoryStore
from mlserver_streaming.recordings.recording import CHUNK_BYTES, Chunk, Recording


def recording(size: int) -> Recording:
    return Recording([Chunk(b"x" * (size - ENTRY_BYTES - CHUNK_BYTES), [])])


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


async def test_what_was_put_is_got_until_it_expires():
    clock = Clock()
    store = MemoryStore(10_000, 60, clock)
    kept = recording(1000)
    assert await store.put("a", kept)
    assert await store.get("a") is kept
    assert await store.get("b") is None
    clock.now += 59.9
    assert await store.get("a") is kept
    clock.now += 0.2
    assert await store.get("a") is None
    assert (len(store), store.bytes) == (0, 0)


async def test_the_least_recently_used_go_first():
    store = MemoryStore(3000, 60)
    for key in "abc":
        assert await store.put(key, recording(1000))
    await store.get("a")
    await store.put("d", recording(1000))
    assert [await store.get(key) is not None for key in "abcd"] == [True, False, True, True]
    await store.put("e", recording(2500))
    assert (len(store), store.bytes) == (1, 2500)


async def test_what_is_put_again_takes_the_place_of_the_old():
    store = MemoryStore(3000, 60)
    await store.put("a", recording(2000))
    newer = recording(1500)
    await store.put("a", newer)
    assert await store.get("a") is newer
    assert store.bytes == 1500


async def test_what_is_larger_than_all_is_not_kept_and_drops_nothing():
    store = MemoryStore(3000, 60)
    await store.put("a", recording(1000))
    assert not await store.put("b", recording(3001))
    assert await store.get("a") is not None


async def test_a_store_never_holds_more_than_it_may():
    store = MemoryStore(10_000, 60)
    for n in range(500):
        await store.put(str(n % 37), recording(700 + 13 * (n % 50)))
        assert store.bytes <= 10_000
    await store.close()
    assert (len(store), store.bytes) == (0, 0)
