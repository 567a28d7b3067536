"""Streams over grpc.aio with nothing encoded or decoded: bytes out, bytes in, checked by length.

The first answers are decoded and checked whole; all later ones must be as long.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

import grpc
from mlserver.grpc import dataplane_pb2 as pb

from ..contenders.process import Target
from .load_process import AnswerError, Tally
from .plain_load import OPTIONS, SERVICE
from .samples import Sample

STREAM = f"{SERVICE}ModelStreamInfer"
# A server that has not loaded its models is not the measured one; a hung one must not hang us.
CALL_SECONDS = 120.0
# No two windows of one server ask the same.
SEEDS = count(time.time_ns())
Check = Callable[[int, bytes], bool]


async def grpc_messages(
    target: Target,
    seconds: float,
    requests: Sequence[bytes],
    is_right: Check,
    in_flight: int,
    streams: int = 1,
    in_order: bool = True,
    fresh: bool = False,
    every: bool = False,
    passes: int = 1,
) -> Sample:
    """A response a request, `in_flight` requests on the wire of each stream; 1 is lockstep.

    Args:
        in_order: answers come in the order of the requests; else any right answer's length will do
            for each of them.
        fresh: no question is ever asked twice: each has a parameter `seed` of its own.
        every: each answer is read, and may be of any length.
        passes: how often all are asked before the window; a cache has what was asked once.
    """

    def request(index: int) -> bytes:
        asked = requests[index % len(requests)]
        # Protobuf's messages are joined by joining their bytes.
        return asked + _seed(next(SEEDS)) if fresh else asked

    async with grpc.aio.insecure_channel(f"127.0.0.1:{target.grpc}", options=OPTIONS) as channel:
        calls: list[Any] = [
            channel.stream_stream(STREAM)(timeout=CALL_SECONDS) for _ in range(streams)
        ]
        lengths = [0] * len(requests)
        for index in list(range(len(requests))) * passes:
            await calls[index % streams].write(request(index))
            answer = await read(calls[index % streams])
            if not is_right(index, answer):
                raise AnswerError(f"the answer to request {index} is wrong: {answer[:300]!r}")
            lengths[index] = len(answer)
        tally = Tally(target.pid, seconds)

        async def drive(call: Any) -> None:
            sent = received = 0
            for _ in range(in_flight):
                await call.write(request(sent))
                sent += 1
            while received < sent:
                answer = await read(call)
                which = received % len(requests)
                right = len(answer) == lengths[which] or (not in_order and len(answer) in lengths)
                if not (is_right(which, answer) if every else right):
                    raise AnswerError(f"response {received} has {len(answer)} bytes")
                received += 1
                tally.responses += 1
                tally.received_bytes += len(answer)
                if tally.is_open():
                    await call.write(request(sent))
                    sent += 1

        await asyncio.gather(*map(drive, calls))
        sample = tally.close()
        for call in calls:
            await call.done_writing()
            await call.read()  # its end: what comes later would find this loop closed
        return sample


async def read(call: Any) -> bytes:
    """The next response of a stream that must have one."""
    answer = await call.read()
    if answer is grpc.aio.EOF:
        raise AnswerError(f"the stream ended: {await call.code()} {await call.details()}")
    return bytes(answer)


def _seed(number: int) -> bytes:
    request = pb.ModelInferRequest()
    request.parameters["seed"].int64_param = number
    return request.SerializeToString()
