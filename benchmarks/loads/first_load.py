"""How long streams wait for their first response when all of them begin at the same moment, again
and again; with one, each begins when the one before has ended."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import grpc

from ..contenders.process import Target
from .event_stream import EventStream, post
from .grpc_load import CALL_SECONDS, STREAM
from .load_process import AnswerError, Tally
from .plain_load import OPTIONS, GrpcCall, HttpCall
from .samples import Sample

# A server may put events that are ready together into one chunk, and not always the same.
CHUNKS = 0.05


async def sse_first(target: Target, seconds: float, call: HttpCall, streams: int) -> Sample:
    """Over HTTP, each stream on a connection of its own."""
    request = post(call.path, call.body, call.content_type, call.headers)
    opened = [await EventStream.connect("127.0.0.1", target.http) for _ in range(streams)]
    answers = [await each.ask(request, whole=True) for each in opened]
    if not all(map(call.is_right, answers)):
        raise AnswerError(f"a wrong answer: {answers[0][:300]!r}")
    wanted = opened[0].size

    async def one(index: int, tally: Tally) -> None:
        if opened[index].is_closed:  # some servers close the connection after an answer
            opened[index] = await EventStream.connect("127.0.0.1", target.http)
        stream, begun = opened[index], time.perf_counter()

        def first() -> None:
            tally.first_seconds.append(time.perf_counter() - begun)
            stream.on_event = None

        stream.on_event = first
        await stream.ask(request)
        if abs(stream.size - wanted) > CHUNKS * wanted:
            raise AnswerError(f"{stream.size} bytes, not {wanted}")
        tally.responses += call.responses
        tally.received_bytes += stream.size

    sample = await again(target, seconds, one, streams)
    for each in opened:
        each.close()
    return sample


async def grpc_first(target: Target, seconds: float, call: GrpcCall, streams: int) -> Sample:
    """Over gRPC, all of them on one connection."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{target.grpc}", options=OPTIONS) as channel:
        stream: Any = channel.stream_stream(STREAM)
        answers = [each async for each in stream(iter([call.request]), timeout=CALL_SECONDS)]
        if not call.is_right(answers):
            raise AnswerError(f"a wrong answer: {answers[:3]!r}")
        wanted = len(answers), sum(map(len, answers))

        async def one(_: int, tally: Tally) -> None:
            begun = time.perf_counter()
            count = size = 0
            async for answer in stream(iter([call.request]), timeout=CALL_SECONDS):
                if not count:
                    tally.first_seconds.append(time.perf_counter() - begun)
                count += 1
                size += len(answer)
            if (count, size) != wanted:
                raise AnswerError(f"{count} responses, {size} bytes: not {wanted}")
            tally.responses += count
            tally.received_bytes += size

        return await again(target, seconds, one, streams)


async def again(
    target: Target, seconds: float, one: Callable[[int, Tally], Awaitable[None]], streams: int
) -> Sample:
    tally = Tally(target.pid, seconds)
    while tally.is_open():
        await asyncio.gather(*(one(index, tally) for index in range(streams)))
    return tally.close()
