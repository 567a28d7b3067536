"""How long streams wait for their first response when all of them begin at the same moment, again
and again; with one, each begins when the one before has ended."""

import asyncio
import time
from typing import Any

from ..contenders.process import Target
from .calls import Asked, HttpCall, opened, right_answer
from .load_process import ENOUGH, AnswerError, Tally
from .samples import Sample

# A server may put events that are ready together into one chunk, and not always the same.
CHUNKS = 0.05


async def first_responses(target: Target, seconds: float, call: Asked, streams: int) -> Sample:
    """Each stream on a connection of its own; over gRPC all on one."""
    wires = await opened(target, call.way, streams)
    for wire in wires:
        answer = await right_answer(wire, call)
    wanted = await wires[0].ask(call.request)
    responses = call.responses if isinstance(call, HttpCall) else len(answer)
    tally = Tally(target.pid, seconds)

    async def one(wire: Any) -> None:
        await wire.open()  # where the server has closed it
        begun, waiting = time.perf_counter(), True

        def told(message: bytes) -> object:
            nonlocal waiting
            if waiting:
                tally.first_seconds.append(time.perf_counter() - begun)
                waiting = False
            return ENOUGH

        size = await wire.ask(call.request, told)
        if abs(size - wanted) > (CHUNKS * wanted if isinstance(call, HttpCall) else 0):
            raise AnswerError(f"{size} bytes, not {wanted}")
        tally.responses += responses
        tally.received_bytes += size

    while tally.is_open():
        await asyncio.gather(*map(one, wires))
    sample = tally.close()
    for wire in wires:
        await wire.close()
    return sample
