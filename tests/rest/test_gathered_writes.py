import asyncio

import pytest

from mlserver_streaming.rest.gathered_writes import RECORD_BYTES, WAITING_BYTES, GatheredWrites


class Transport:
    """Remembers what was done to it."""

    def __init__(self) -> None:
        self.done: list[bytes | str] = []
        self.limit = 0

    def set_write_buffer_limits(self, high: int) -> None:
        self.limit = high

    def write(self, data: bytes) -> None:
        self.done.append(data)

    def close(self) -> None:
        self.done.append("close")

    def abort(self) -> None:
        self.done.append("abort")

    def is_closing(self) -> bool:
        return "close" in self.done


@pytest.fixture
async def writes() -> GatheredWrites:
    return GatheredWrites(Transport(), asyncio.get_running_loop())


async def test_a_slow_reader_s_data_is_bounded(writes: GatheredWrites) -> None:
    assert writes.limit == WAITING_BYTES


async def test_writes_of_one_turn_leave_together_at_its_end(writes: GatheredWrites) -> None:
    for data in (b"a", b"b", b"c"):
        writes.write(data)
    assert writes.done == []
    await asyncio.sleep(0)
    assert writes.done == [b"abc"]
    writes.write(b"d")
    await asyncio.sleep(0)
    assert writes.done == [b"abc", b"d"]


async def test_a_full_record_does_not_wait(writes: GatheredWrites) -> None:
    large = bytes(RECORD_BYTES)
    writes.write(b"a")
    writes.write(large)
    assert writes.done == [b"a" + large]
    writes.write(b"b")
    await asyncio.sleep(0)
    assert writes.done == [b"a" + large, b"b"]


async def test_closing_sends_what_waits(writes: GatheredWrites) -> None:
    writes.write(b"a")
    assert not writes.is_closing()
    writes.close()
    assert writes.done == [b"a", "close"]
    assert writes.is_closing()
    await asyncio.sleep(0)
    assert writes.done == [b"a", "close"]


async def test_aborting_drops_it(writes: GatheredWrites) -> None:
    writes.write(b"a")
    writes.abort()
    await asyncio.sleep(0)
    assert writes.done == ["abort"]
