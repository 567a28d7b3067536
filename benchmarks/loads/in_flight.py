"""Items on a stream, so many on the wire at once: a response a request.

The first answers are decoded and checked whole; all later ones must be as long.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from ..contenders.process import Target
from .calls import opened
from .load_process import AnswerError, Tally
from .samples import Sample


async def items(
    target: Target,
    seconds: float,
    way: str,
    requests: Sequence[bytes],
    is_right: Callable[[int, bytes], bool],
    in_flight: int,
    streams: int = 1,
    in_order: bool = True,
) -> Sample:
    """Answers to `requests` in turn; 1 in flight is lockstep.

    Args:
        way: see calls.py.
        in_order: answers come in the order of the requests; else any right answer's length will do
            for each of them.
    """
    wires = await opened(target, way, streams)
    lengths = []
    for index, request in enumerate(requests):
        wire = wires[index % streams]
        await wire.send(request)
        answer = await wire.receive() or b""
        if not is_right(index, answer):
            raise AnswerError(f"the answer to request {index} is wrong: {answer[:300]!r}")
        lengths.append(len(answer))
    tally = Tally(target.pid, seconds)

    async def drive(wire: Any) -> None:
        for index in range(in_flight):
            await wire.send(requests[index % len(requests)])
        sent, received = in_flight, 0
        while received < sent:
            size = len(await wire.receive() or b"")
            if size != lengths[received % len(requests)] and (in_order or size not in lengths):
                raise AnswerError(f"response {received} has {size} bytes")
            tally.received_bytes += size
            tally.responses += 1
            received += 1
            if tally.is_open():
                await wire.send(requests[sent % len(requests)])
                sent += 1

    await asyncio.gather(*map(drive, wires))
    sample = tally.close()
    for wire in wires:
        await wire.end()
        await wire.close()
    return sample
