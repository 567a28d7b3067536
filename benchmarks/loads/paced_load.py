"""Runs paced streams against a server and watches the clock."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

from ..contenders.process import Target, settled
from .calls import wire_to
from .pace import Anchor, Pace, Paced, StreamLog, TokenClock, find_most
from .samples import Sample

# What was due at the very end may still come; later than this it is missing.
GRACE_SECONDS = 0.25
# Time to begin together after the last connection is open.
LEAD_SECONDS = 0.05
OPENING_AT_ONCE = 32
# All streams begin within this time.
RAMP_SECONDS = 0.5
# Streams fit while p99 lateness is within this.
LIMIT_SECONDS = 0.1
# A run that misses the limit by less is made once more: something else may have had the core.
NEAR = 5.0


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


class Items:
    """One stream of items, each sent when it is due and answered; a request's id is its place
    among the requests."""

    def __init__(self, clock: Clock, pace: Pace, stream: int, anchor: Anchor):
        self.log = StreamLog()
        self._clock, self._pace, self._stream = clock, pace, stream
        self._settled: set[int] = set()

    async def drive(self, wire: Any, requests: Sequence[bytes]) -> None:
        items = range(self._pace.items(self._stream))
        if wire.in_turn:
            for index in items:
                await self._clock.until(self._due(index))
                await wire.ask(requests[index % len(requests)], lambda message: None)
                self._settle(index)
            return
        sent: dict[str, deque[int]] = defaultdict(deque)

        async def write() -> None:
            for index in items:
                await self._clock.until(self._due(index))
                sent[str(index % len(requests))].append(index)
                await wire.send(requests[index % len(requests)])
            await wire.end()

        writing = asyncio.create_task(write())
        try:
            while (message := await wire.receive()) is not None:
                error, id = wire.read(message)
                # A server that gives no ids back answers in order.
                waiting = sent[id] or min(filter(None, sent.values()), default=deque[int]())
                if waiting:
                    self._settle(waiting.popleft(), error)
                else:
                    self.log.fail("more responses than requests")
        finally:
            writing.cancel()

    def _due(self, index: int) -> float:
        return self._pace.due(self._stream, index)

    def _settle(self, index: int, error: str = "") -> None:
        self._settled.add(index)
        if error:
            self.log.fail(error)
        else:
            self.log.answer(self._due(index), self._clock.now())

    def cut(self, end: float) -> None:
        """The run is over: the rest is missing, also what a slow server has not let us send."""
        for index in range(self._pace.items(self._stream)):
            if index not in self._settled and self._due(index) < end:
                self.log.miss(self._due(index), end)


class Tokens:
    """One stream of tokens: one request, and an answer of many; again where it has ended."""

    def __init__(self, clock: Clock, pace: Pace, stream: int, anchor: Anchor):
        self.log = StreamLog()
        self._clock, self._pace, self._begin = clock, pace, pace.begin(stream)
        self._anchor = anchor
        self._answer: TokenClock | None = None

    async def drive(self, wire: Any, requests: Sequence[bytes]) -> None:
        await wire.open()
        await self._clock.until(self._begin)
        while self._clock.now() < self._pace.seconds:
            await wire.open()
            asked = self._clock.now()
            self._answer = answer = TokenClock(self.log, self._pace.rate, asked, self._anchor)

            def told(message: bytes, answer: TokenClock = answer) -> None:
                error, _ = wire.read(message)
                if error:
                    self.log.fail(error)
                else:
                    answer.token(self._clock.now())

            await wire.ask(requests[0], told)
            self._answer = None

    def cut(self, end: float) -> None:
        """The run is over: what was due of an answer that has not ended is missing."""
        if self._answer is not None:
            self._answer.cut(end)


async def paced_fit(
    target: Target,
    _: float,
    way: str,
    kind: type[Items | Tokens],
    requests: Sequence[bytes],
    rate: float,
    first: int,
    seconds: float,
    most: int,
) -> Sample:
    """How many streams at `rate` fit a contender, each on a connection of its own, timed from
    their requests on; every run that it took is kept.

    Args:
        way: see calls.py.
        first, most: the first count to try, and the last.
        seconds: length of a run.
    """

    async def run(streams: int) -> Paced:
        # In a thread: the run before has yet to hang up.
        await asyncio.to_thread(settled, target.pid)
        pace = Pace(streams, rate, seconds, min(RAMP_SECONDS, seconds / 2))
        return await run_paced([wire_to(target, way) for _ in range(streams)], kind, requests, pace)

    return figures(await find_fit(run, first, most))


async def find_fit(run: Callable[[int], Awaitable[Paced]], first: int, most: int) -> list[Paced]:
    """Every run that it took to find how many fit; one that misses closely is made twice."""
    runs: list[Paced] = []

    async def fits(streams: int) -> bool:
        runs.append(await run(streams))
        if not runs[-1].fits(LIMIT_SECONDS) and runs[-1].late_p99 < NEAR * LIMIT_SECONDS:
            runs.append(await run(streams))
        return runs[-1].fits(LIMIT_SECONDS)

    await find_most(fits, first, most)
    return runs


def figures(runs: Sequence[Paced]) -> Sample:
    """How many fit, and what was seen with so many."""
    fitting = [run for run in runs if run.fits(LIMIT_SECONDS)]
    if not fitting:
        return Sample({"most": 0.0}, runs=runs)
    best = max(fitting, key=lambda run: run.streams)
    seen = {
        "most": best.streams,
        "late_p50_ms": 1e3 * best.late_p50,
        "late_p99_ms": 1e3 * best.late_p99,
        "client_late_p99_ms": 1e3 * best.sent_late_p99,
        "client_cpu_percent": 100 * best.client_cpu,
    }
    if best.first_p99 is not None:
        seen["first_response_p99_ms"] = 1e3 * best.first_p99
    return Sample(seen, runs=runs)


async def run_paced(
    wires: Sequence[Any],
    kind: Callable[[Clock, Pace, int, Anchor], Items | Tokens],
    requests: Sequence[bytes],
    pace: Pace,
    anchor: Anchor = "request",
) -> Paced:
    """Drive each wire as one stream, for `pace.seconds`."""
    clock = Clock()
    streams = [kind(clock, pace, stream, anchor) for stream in range(len(wires))]
    gate = asyncio.Semaphore(OPENING_AT_ONCE)

    async def opened(wire: Any) -> None:
        async with gate:
            await wire.open()

    async def driven(wire: Any, stream: Items | Tokens) -> None:
        try:
            await stream.drive(wire, requests)
        except Exception as error:
            stream.log.fail(str(error) or type(error).__name__)

    try:
        await asyncio.gather(*map(opened, wires))
        clock.begun = time.perf_counter() + LEAD_SECONDS
        cpu = time.process_time()
        tasks = [asyncio.create_task(driven(*each)) for each in zip(wires, streams, strict=True)]
        await asyncio.wait(tasks, timeout=LEAD_SECONDS + pace.seconds + GRACE_SECONDS)
        end = clock.now()
        cpu = (time.process_time() - cpu) / max(end, 1e-9)
        for stream in streams:
            stream.cut(end)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=GRACE_SECONDS)
    finally:
        for wire in wires:
            with suppress(Exception):
                await wire.close()
    return Paced.of(pace, [stream.log for stream in streams], clock.sent_late, cpu)
