import asyncio
import socket
from typing import Any

import pytest
import uvloop

from mlserver_streaming.rest.gathered_writes import (
    RECORD_BYTES,
    WAITING_BYTES,
    GatheredWrites,
    write_now,
)


class Transport:
    """Remembers what was done to it."""

    def __init__(self) -> None:
        self.done: list[bytes | str] = []
        self.limit = 0

    def set_write_buffer_limits(self, high: int) -> None:
        self.limit = high

    def write(self, data: bytes) -> None:
        self.done.append(data)

    def get_write_buffer_size(self) -> int:
        return 0

    def get_extra_info(self, name: str) -> Any:
        return {"sslcontext": self}.get(name)

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


def test_what_is_written_now_waits_for_no_round_s_end() -> None:
    near, far = socket.socketpair()
    far.setblocking(False)

    async def write() -> None:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=near)
        usual = transport.get_write_buffer_limits()
        write_now(transport, b"a")
        assert far.recv(9) == b"a"
        transport.write(b"b")
        write_now(transport, b"c")
        with pytest.raises(BlockingIOError):
            far.recv(9)
        await asyncio.sleep(0)
        assert await loop.sock_recv(far, 9) == b"bc"
        assert transport.get_write_buffer_limits() == usual
        transport.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner, far:
        runner.run(write())


async def test_under_tls_it_is_gathered_and_bounded_as_ever(writes: GatheredWrites) -> None:
    write_now(writes, b"a")
    writes.write(b"b")
    assert writes.done == [] and writes.limit == WAITING_BYTES
    await asyncio.sleep(0)
    assert writes.done == [b"ab"]
