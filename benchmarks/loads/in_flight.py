"""Items on a stream, so many on the wire at once: a response a request.

The first answers are decoded and checked whole; all later ones must be as long.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from itertools import count
from typing import Any

from mlserver.grpc import dataplane_pb2 as pb

from ..contenders.process import Target
from .calls import opened
from .load_process import AnswerError, Tally
from .samples import Sample

# No two windows of one server ask the same.
SEEDS = count(time.time_ns())
Check = Callable[[int, bytes], bool]


async def items(
    target: Target,
    seconds: float,
    way: str,
    requests: Sequence[bytes],
    is_right: Check,
    in_flight: int,
    streams: int = 1,
    in_order: bool = True,
    fresh: bool = False,
    every: bool = False,
    passes: int = 1,
) -> Sample:
    """Answers to `requests` in turn; 1 in flight is lockstep.

    Args:
        way: see calls.py.
        in_order: answers come in the order of the requests; else any right answer's length will do
            for each of them.
        fresh: no question is ever asked twice: each has a parameter `seed` of its own.
        every: each answer is read, and may be of any length.
        passes: how often all are asked before the window; a cache has what was asked once.
    """

    def request(index: int) -> bytes:
        asked = requests[index % len(requests)]
        if not fresh:
            return asked
        seeded = pb.ModelInferRequest()
        seeded.parameters["seed"].int64_param = next(SEEDS)
        # Protobuf's messages are joined by joining their bytes.
        return asked + seeded.SerializeToString()

    wires = await opened(target, way, streams)
    lengths = [0] * len(requests)
    for index in list(range(len(requests))) * passes:
        wire = wires[index % streams]
        await wire.send(request(index))
        answer = await wire.receive() or b""
        if not is_right(index, answer):
            raise AnswerError(f"the answer to request {index} is wrong: {answer[:300]!r}")
        lengths[index] = len(answer)

    async def drive(wire: Any) -> None:
        async def receive(index: int) -> int:
            answer = await wire.receive() or b""
            which = index % len(requests)
            right = len(answer) == lengths[which] or (not in_order and len(answer) in lengths)
            if not (is_right(which, answer) if every else right):
                raise AnswerError(f"response {index} has {len(answer)} bytes")
            return len(answer)

        await keep_in_flight(tally, in_flight, lambda index: wire.send(request(index)), receive)

    tally = Tally(target.pid, seconds)
    await asyncio.gather(*map(drive, wires))
    sample = tally.close()
    for wire in wires:
        await wire.end()
        await wire.close()
    return sample


async def keep_in_flight(
    tally: Tally,
    in_flight: int,
    send: Callable[[int], Awaitable[None]],
    receive: Callable[[int], Awaitable[int]],
) -> None:
    """Send items by their numbers as long as the tally is open, and receive the answers to all.

    Args:
        receive: gives the bytes of an answer.
    """
    for index in range(in_flight):
        await send(index)
    sent, received = in_flight, 0
    while received < sent:
        tally.received_bytes += await receive(received)
        tally.responses += 1
        received += 1
        if tally.is_open():
            await send(sent)
            sent += 1
