import asyncio
import threading
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from clients.errors import SourceError
from clients.video.frame_buffer import FrameBuffer, Policy
from clients.video.frame_source import SourceFrame

IMAGE = np.zeros((2, 2, 3), np.uint8)


class Source:
    """Frames as a test lets them come; an exception among them is raised."""

    live = True
    fps = Fraction(30)

    def __init__(
        self, count: int, error: Exception | None = None, times: list[float] | None = None
    ):
        self.times = times or [0.0] * count
        self.count, self.error = count, error
        self.read_count = 0
        self.may_read = threading.Semaphore(0)
        self.asked = threading.Semaphore(0)

    def read(self) -> SourceFrame | None:
        self.asked.release()
        self.may_read.acquire(timeout=10)
        if self.read_count == self.count:
            if self.error is not None:
                raise self.error
            return None
        self.read_count += 1
        return SourceFrame(self.read_count - 1, self.times[self.read_count - 1], IMAGE)

    async def let(self, frames: int) -> None:
        """Let so many reads go, and wait until the buffer has come for another."""
        for _ in range(frames):
            await asyncio.to_thread(self.asked.acquire, timeout=10)
            self.may_read.release()
        await asyncio.to_thread(self.asked.acquire, timeout=10)
        self.asked.release()

    def let_all(self) -> None:
        self.may_read.release(1000)


async def rest(buffer: FrameBuffer) -> list[int]:
    found = []
    while (frame := await buffer.get()) is not None:
        found.append(frame.index)
    return found


def buffer_of(source: Any, policy: Policy, **more: Any) -> FrameBuffer:
    return FrameBuffer(source, policy, **more)


async def test_waiting_keeps_every_frame() -> None:
    source = Source(50)
    source.let_all()
    buffer = buffer_of(source, Policy.WAIT)
    assert await rest(buffer) == list(range(50))
    assert buffer.dropped == 0


async def test_waiting_reads_only_a_little_ahead() -> None:
    source = Source(50)
    source.let_all()
    buffer = buffer_of(source, Policy.WAIT)
    assert (await buffer.get()).index == 0  # type: ignore[union-attr]
    assert source.read_count <= 6
    buffer.close()


async def test_the_latest_takes_the_place_of_the_older() -> None:
    source = Source(10)
    buffer = buffer_of(source, Policy.LATEST)
    await source.let(4)
    assert (await buffer.get()).index == 3  # type: ignore[union-attr]
    assert buffer.dropped == 3
    await source.let(1)
    assert (await buffer.get()).index == 4  # type: ignore[union-attr]
    assert buffer.dropped == 3
    source.let_all()
    assert (await rest(buffer))[-1] == 9


async def test_stride_and_the_end() -> None:
    source = Source(50)
    source.let_all()
    buffer = buffer_of(source, Policy.WAIT, stride=3, max_frames=4)
    assert await rest(buffer) == [0, 3, 6, 9]


@pytest.mark.parametrize(
    ("times", "kept"),
    [
        ([index / 25 for index in range(26)], [0, 7, 13, 19, 25]),
        # Not by number: after a silence there is one at once, and then in step with it.
        ([0, 0.033, 0.066, 0.1, 0.6, 1.1, 1.6, 2.1, 2.133, 2.166], [0, 4, 5, 6, 7]),
        ([0, 0.2499, 0.5], [0, 1, 2]),
    ],
    ids=["steady", "variable", "rounded"],
)
async def test_a_cap_on_the_rate_goes_by_the_source_s_time(
    times: list[float], kept: list[int]
) -> None:
    source = Source(len(times), times=times)
    source.let_all()
    assert await rest(buffer_of(source, Policy.WAIT, fps_cap=4)) == kept


async def test_an_error_comes_after_the_frames_before_it() -> None:
    source = Source(2, SourceError("it broke"))
    source.let_all()
    buffer = buffer_of(source, Policy.WAIT)
    assert [(await buffer.get()).index for _ in range(2)] == [0, 1]  # type: ignore[union-attr]
    with pytest.raises(SourceError, match="it broke"):
        await buffer.get()


async def test_closing_ends_the_thread() -> None:
    source = Source(1000)
    source.let_all()
    buffer = buffer_of(source, Policy.WAIT)
    await buffer.get()
    buffer.close()
    await asyncio.to_thread(buffer._thread.join, 10)
    assert not buffer._thread.is_alive()
