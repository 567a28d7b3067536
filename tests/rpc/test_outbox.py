"""Messages that are ready together, in order; bounded in number and in bytes."""

import asyncio
from typing import Any

from mlserver_streaming.rpc.outbox import READY_BYTES, Outbox
from mlserver_streaming.streams.turnstile import Turnstile
from tests.streams.planes import answer, said


class Wire:
    """What was encoded and what was written, in their order."""

    def __init__(self) -> None:
        self.log: list[str] = []

    def encode(self, response: Any, raw: bool, model: Any) -> str:
        (text,) = said(response)
        self.log.append(f"encode {text[:10]}")
        return text

    async def write(self, message: str) -> None:
        await asyncio.sleep(0)
        self.log.append(f"write {message[:10]}")


def outbox(wire: Wire, limit: int = 3) -> Outbox:
    return Outbox(wire, asyncio.Lock(), Turnstile(), limit)


async def test_the_first_message_does_not_wait_and_later_ones_gather() -> None:
    wire = Wire()
    box = outbox(wire)
    assert box.add(answer("a"), False, None)
    await box.flush()
    assert [box.add(answer(text), False, None) for text in "bcd"] == [False, False, True]
    await box.flush()
    assert wire.log == [
        *("encode a", "write a"),
        *("encode b", "encode c", "encode d", "write b", "write c", "write d"),
    ]


async def test_a_large_message_does_not_wait_for_others() -> None:
    box = outbox(Wire())
    box.add(answer("a"), False, None)
    await box.flush()
    assert box.add(answer("b" * READY_BYTES), False, None)


async def test_nothing_is_written_twice_or_where_there_is_nothing() -> None:
    wire = Wire()
    box = outbox(wire)
    await box.flush()
    box.add(answer("a"), False, None)
    await asyncio.gather(box.flush(), box.flush())
    assert wire.log == ["encode a", "write a"]


async def test_boxes_of_one_wire_take_turns() -> None:
    wire, lock = Wire(), asyncio.Lock()
    boxes = [Outbox(wire, lock, Turnstile(), 9) for _ in range(2)]
    for box, texts in zip(boxes, ("ab", "cd"), strict=True):
        for text in texts:
            box.add(answer(text), False, None)
    await asyncio.gather(*(box.flush() for box in boxes))
    assert wire.log[4:] == ["write a", "write b", "write c", "write d"]
