"""Runs paced streams against a server and watches the clock."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict, deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

from ..contenders.process import Target
from .calls import wire_to
from .pace import Anchor, Pace, Paced, StreamLog, TokenClock
from .wire import Wire

# What was due at the very end may still come; later than this it is missing.
GRACE_SECONDS = 0.25
# Time to begin together after the last connection is open.
LEAD_SECONDS = 0.05
OPENING_AT_ONCE = 32
# All streams begin within this time.
RAMP_SECONDS = 0.5
MAX_ERROR = 200


class Clock:
    """Seconds from the start, for all streams of a run."""

    def __init__(self) -> None:
        self.sent_late: list[float] = []
        self.begun = 0.0

    def now(self) -> float:
        return time.perf_counter() - self.begun

    async def until(self, due: float) -> None:
        """Wait until `due`, and note how late that was done."""
        await asyncio.sleep(max(0.0, due - self.now()))
        self.sent_late.append(max(0.0, self.now() - due))


class Watch:
    """What is told of one stream.

    Attributes:
        clock, pace, stream: when its items are due.
    """

    def __init__(self, clock: Clock, pace: Pace, stream: int, anchor: Anchor):
        self.clock, self.pace, self.stream = clock, pace, stream
        self.log = StreamLog()
        self.errors: Counter[str] = Counter()
        self._anchor = anchor
        self._tokens: TokenClock | None = None
        self._waiting: dict[int, float] = {}
        self._begun = False
        self._reached = 0

    # Items: each sent when it is due, each answered.

    async def next_due(self, index: int) -> bool:
        """Wait until item `index` is due; false where there is none."""
        if index >= self.pace.items(self.stream):
            return False
        due = self.pace.due(self.stream, index)
        self._reached = index + 1
        self._waiting[index] = due
        await self.clock.until(due)
        return True

    def answered(self, index: int) -> None:
        due = self._waiting.pop(index, None)
        if due is not None:
            self.log.answer(due, self.clock.now())

    # Tokens: one request, then a stream of them.

    def is_open(self) -> bool:
        """Whether another request may be made."""
        return self.clock.now() < self.pace.seconds

    async def ask(self) -> None:
        """Call it before each request; waits until the stream is to begin."""
        if not self._begun:
            self._begun = True
            await self.clock.until(self.pace.begin(self.stream))
        self._tokens = TokenClock(self.log, self.pace.rate, self.clock.now(), self._anchor)

    def token(self) -> None:
        if self._tokens is not None:
            self._tokens.token(self.clock.now())

    def ended(self) -> None:
        """The answer is whole; no more tokens of it are due."""
        self._tokens = None

    def failed(self, text: str, index: int | None = None) -> None:
        """An error; of item `index` where it is one's, which is then not missing."""
        if index is not None:
            self._waiting.pop(index, None)
        self.errors[" ".join(text.split())[:MAX_ERROR] or "an error without a text"] += 1

    def cut(self, end: float) -> None:
        """The run is over."""
        for due in self._waiting.values():
            if due < end:
                self.log.miss(due, end)
        if self._reached:  # items that a slow server has not even let us send
            for index in range(self._reached, self.pace.items(self.stream)):
                self.log.miss(self.pace.due(self.stream, index), end)
        if self._tokens is not None:
            self._tokens.cut(end)


async def tokens(wire: Wire, watch: Watch, requests: Sequence[bytes]) -> None:
    """Ask, and be told of the tokens; again where an answer has ended."""

    def told(message: bytes) -> None:
        error, _ = wire.read(message)
        if error:
            watch.failed(error)
        else:
            watch.token()

    while watch.is_open():
        await wire.open()
        await watch.ask()
        await wire.ask(requests[0], told)
        watch.ended()


async def items(wire: Any, watch: Watch, requests: Sequence[bytes]) -> None:
    """Send each item when it is due; a request's id is its place among them."""
    count = len(requests)
    if wire.in_turn:
        index = 0
        while await watch.next_due(index):
            await wire.ask(requests[index % count], lambda message: None)
            watch.answered(index)
            index += 1
        return
    sent: dict[str, deque[int]] = defaultdict(deque)

    async def write() -> None:
        index = 0
        while await watch.next_due(index):
            sent[str(index % count)].append(index)
            await wire.send(requests[index % count])
            index += 1
        await wire.end()

    writing = asyncio.create_task(write())
    try:
        while (message := await wire.receive()) is not None:
            error, id = wire.read(message)
            # A server that gives no ids back answers in order.
            waiting = sent[id] or min(filter(None, sent.values()), default=deque[int]())
            if not waiting:
                watch.failed("more responses than requests")
                continue
            index = waiting.popleft()
            if error:
                watch.failed(error, index)
            else:
                watch.answered(index)
    finally:
        writing.cancel()


async def paced_window(
    target: Target, way: str, requests: Sequence[bytes], streams: int, rate: float, seconds: float
) -> Paced:
    """One run against a contender, in the load process: `streams` streams at `rate`, each on a
    connection of its own, timed from their requests on.

    Args:
        way: see calls.py; with `tokens` after it one request is answered with a stream of them,
            else each request is an item.
    """
    way, _, answered = way.partition(", ")
    pace = Pace(streams, rate, seconds, min(RAMP_SECONDS, seconds / 2))
    wires = [wire_to(target, way) for _ in range(streams)]
    return await run_paced(wires, tokens if answered else items, requests, pace)


async def run_paced(
    wires: Sequence[Wire],
    drive: Callable[[Any, Watch, Sequence[bytes]], Awaitable[None]],
    requests: Sequence[bytes],
    pace: Pace,
    anchor: Anchor = "request",
) -> Paced:
    """Drive each wire as one stream, for `pace.seconds`."""
    clock = Clock()
    watches = [Watch(clock, pace, stream, anchor) for stream in range(len(wires))]
    gate = asyncio.Semaphore(OPENING_AT_ONCE)

    async def opened(wire: Wire) -> None:
        async with gate:
            await wire.open()

    async def driven(wire: Wire, watch: Watch) -> None:
        try:
            await drive(wire, watch, requests)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            watch.failed(str(error) or type(error).__name__)

    try:
        await asyncio.gather(*map(opened, wires))
        clock.begun = time.perf_counter() + LEAD_SECONDS
        cpu = time.process_time()
        tasks = [asyncio.create_task(driven(*each)) for each in zip(wires, watches, strict=True)]
        await asyncio.wait(tasks, timeout=LEAD_SECONDS + pace.seconds + GRACE_SECONDS)
        end = clock.now()
        cpu = (time.process_time() - cpu) / max(end, 1e-9)
        for watch in watches:
            watch.cut(end)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=GRACE_SECONDS)
    finally:
        for wire in wires:
            with suppress(Exception):
                await wire.close()
    errors = sum((watch.errors for watch in watches), Counter[str]())
    return Paced.of(pace, [watch.log for watch in watches], clock.sent_late, cpu, errors)
