"""Messages that are ready together, in order; bounded in number and in bytes."""

import asyncio

from mlserver_streaming.rpc.outbox import READY_BYTES, Outbox
from mlserver_streaming.streams.turnstile import Turnstile


class Wire:
    """What was written, in its order."""

    def __init__(self) -> None:
        self.log: list[str] = []

    async def write(self, message: str) -> None:
        await asyncio.sleep(0)
        self.log.append(message[:10])


def outbox(wire: Wire, limit: int = 3) -> Outbox:
    return Outbox(wire.write, asyncio.Lock(), Turnstile(), limit)


async def test_the_first_message_does_not_wait_and_later_ones_gather() -> None:
    wire = Wire()
    box = outbox(wire)
    assert box.put("a")
    await box.flush()
    assert [box.put(text) for text in "bcd"] == [False, False, True]
    assert wire.log == ["a"]
    await box.flush()
    assert wire.log == ["a", "b", "c", "d"]


async def test_a_large_message_does_not_wait_for_others() -> None:
    box = outbox(Wire())
    box.put("a")
    await box.flush()
    assert box.put("b" * READY_BYTES)


async def test_nothing_is_written_twice_or_where_there_is_nothing() -> None:
    wire = Wire()
    box = outbox(wire)
    await box.flush()
    box.put("a")
    await asyncio.gather(box.flush(), box.flush())
    assert wire.log == ["a"]


async def test_boxes_of_one_wire_take_turns() -> None:
    wire, lock = Wire(), asyncio.Lock()
    boxes = [Outbox(wire.write, lock, Turnstile(), 9) for _ in range(2)]
    for box, texts in zip(boxes, ("ab", "cd"), strict=True):
        for text in texts:
            box.put(text)
    await asyncio.gather(*(box.flush() for box in boxes))
    assert wire.log == ["a", "b", "c", "d"]
