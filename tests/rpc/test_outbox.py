"""Messages that are ready together, in order; bounded in number and in bytes."""

import asyncio

from mlserver_streaming.rpc.errors import Together
from mlserver_streaming.rpc.outbox import READY_BYTES, Outbox
from mlserver_streaming.streams.turnstile import Turnstile


class Wire:
    """What was written, in its order."""

    def __init__(self) -> None:
        self.log: list[str] = []

    async def write(self, message: str) -> None:
        await asyncio.sleep(0)
        self.log.append(message[:10])


class Calm(Turnstile):
    """No call comes in."""

    def is_open(self) -> bool:
        return True


def outbox(wire: Wire, limit: int = 3) -> Outbox:
    return Outbox(wire.write, asyncio.Lock(), Calm(), limit)


async def test_the_first_message_does_not_wait_and_later_ones_gather() -> None:
    wire = Wire()
    box = outbox(wire)
    assert box.put("a")
    await box.flush()
    assert [box.put(text) for text in "bcd"] == [False, False, True]
    assert wire.log == ["a"]
    await box.flush()
    assert wire.log == ["a", "b", "c", "d"]


async def test_while_calls_come_in_the_second_message_waits_for_its_turn_and_no_later_one() -> None:
    gate = Turnstile()
    box = Outbox(Wire().write, asyncio.Lock(), gate, 3)
    box.put("a")
    await box.flush()
    gate.arrived()
    assert not gate.is_open()
    assert box.put("b"), "others have no first one yet"
    await box.flush()
    gate.arrived()
    assert [box.put(text) for text in "cde"] == [False, False, True]


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


class TogetherWire:
    """A wire that takes several at once, where there is room for them."""

    def __init__(self, has_room: bool) -> None:
        self.log: list[str] = []
        self.has_room = has_room

    async def write_all(self, messages: list[str]) -> None:
        await asyncio.sleep(0)
        self.log += [f"waited for {each}" for each in messages]

    def write_at_once(self, messages: list[str], size: int) -> bool:
        if self.has_room:
            self.log += messages
        return self.has_room


def together(wire: TogetherWire, lock: asyncio.Lock, gate: Turnstile) -> Outbox:
    async def alone(message: object) -> None:
        raise AssertionError("messages are written together")

    return Outbox(alone, lock, gate, 9, Together(wire, lambda: None))


async def test_before_a_wait_messages_leave_without_one() -> None:
    wire = TogetherWire(has_room=True)
    box = together(wire, asyncio.Lock(), Turnstile())
    assert box.pause() is None
    box.put("a")
    assert box.pause() is None
    box.put("b")
    assert box.pause() is None
    assert wire.log == ["a", "b"]
    await box.flush()
    assert wire.log == ["a", "b"]


async def test_before_a_wait_a_full_wire_is_waited_for() -> None:
    wire = TogetherWire(has_room=False)
    box = together(wire, asyncio.Lock(), Turnstile())
    box.put("a")
    pausing = box.pause()
    assert pausing is not None
    await pausing
    assert wire.log == ["waited for a"]


async def test_before_a_wait_nobody_is_overtaken() -> None:
    wire, lock, gate = TogetherWire(has_room=True), asyncio.Lock(), Turnstile()
    box = together(wire, lock, gate)
    box.put("a")
    async with lock:
        pausing = box.pause()
    assert pausing is not None
    await pausing
    gate.arrived()
    box.put("b")
    pausing = box.pause()
    assert pausing is not None
    await pausing
    assert wire.log == ["waited for a", "waited for b"]
