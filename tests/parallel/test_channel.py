"""Two ends of a socket in one loop."""

import asyncio
import socket
from typing import Any

import numpy as np
import pytest

from mlserver_streaming.parallel.channel import Channel


class End:
    """One end, and what came out of it."""

    def __init__(self, end: socket.socket, **functions: Any):
        self.heard: list[Any] = []
        self.batches = 0
        self.is_lost = False
        self.changed = asyncio.Event()
        self.channel = Channel(end, self._hear, self._lose, **functions)

    def _hear(self, messages: list[Any]) -> None:
        self.heard += messages
        self.batches += 1
        self.changed.set()

    def _lose(self) -> None:
        self.is_lost = True
        self.changed.set()

    async def until(self, count: int) -> list[Any]:
        async with asyncio.timeout(20):
            while len(self.heard) < count and not self.is_lost:
                self.changed.clear()
                await self.changed.wait()
        return self.heard


@pytest.fixture
def ends() -> Any:
    opened: list[End] = []

    def open_both(**functions: Any) -> tuple[End, End]:
        ours, theirs = socket.socketpair()
        opened.extend((End(ours, **functions), End(theirs)))
        return opened[0], opened[1]

    yield open_both
    for end in opened:
        end.channel.close()


async def test_what_is_said_in_one_turn_travels_together(ends: Any):
    one, other = ends()
    for number in range(100):
        one.channel.send(number)
    assert await other.until(100) == list(range(100))
    assert other.batches == 1
    other.channel.send("back")
    assert await one.until(1) == ["back"]


async def test_more_than_the_socket_holds_waits_and_arrives_in_order(ends: Any):
    one, other = ends()
    for number in range(20):
        one.channel.send((number, np.full(300_000, number)))
        if number % 3 == 0:
            await asyncio.sleep(0)
    found = await other.until(20)
    assert [(number, array[0], array[-1]) for number, array in found] == [
        (number,) * 3 for number in range(20)
    ]


async def test_the_other_end_is_told_once_and_nothing_is_said_after_it(ends: Any):
    one, other = ends()
    one.channel.send("last")
    await other.until(1)
    one.channel.close()
    one.channel.close()
    one.channel.send("after")
    await other.until(2)
    assert other.heard == ["last"] and other.is_lost
    assert not one.is_lost  # it has closed itself


async def test_a_message_that_cannot_be_pickled_harms_no_other(ends: Any):
    one, other = ends(unsendable=lambda message, error: ("instead of", message[0]))
    one.channel.send("before")
    one.channel.send((1, lambda: None))
    one.channel.send("after")
    assert await other.until(3) == ["before", ("instead of", 1), "after"]


async def test_what_is_gathered_leaves_first(ends: Any):
    waiting = ["gathered"]

    def gather() -> list[str]:
        found = waiting[:]
        waiting.clear()
        return found

    one, other = ends(gather=gather)
    one.channel.send("said")
    assert await other.until(2) == ["gathered", "said"]
    one.channel.flush_soon()
    waiting.append("alone")
    assert await other.until(3) == ["gathered", "said", "alone"]


async def test_bytes_that_are_no_frame_end_it(ends: Any):
    ours, theirs = socket.socketpair()
    end = End(ours)
    theirs.sendall(b"\x04" + bytes(7) + b"\x04" + bytes(7) + b"junk")
    await end.until(1)
    assert end.is_lost
    theirs.close()
