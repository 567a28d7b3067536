"""Questions asked once, or again and again: a load of its own, since each must differ or be equal.

Answers are checked by what they say and by how they came.
"""

import asyncio
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any

import grpc
from mlserver.grpc import dataplane_pb2 as pb

from ..contenders.process import Target
from .grpc_load import OPTIONS, STREAM
from .load_window import AnswerError, Tally
from .samples import Sample
from .sse_load import v2_request

MODEL = "text-model"
EVENT, END = b"data: {", b"\r\n0\r\n\r\n"
MAX_ANSWER_BYTES = 4 * 1024 * 1024
# No two windows of one server ask the same.
SEEDS = count(time.time_ns())


async def text_streams(
    target: Target, prompt: str, clients: int, seconds: float, again: bool, way: str
) -> Sample:
    """Streams of events, one after another on each of `clients` connections.

    Args:
        again: ask the same each time; else no question is ever asked twice.
        way: the parameter `cache` that the answers must have, but for hits that a store did not
            give in time; empty for none.
    """
    words = len(prompt.split(" "))
    others = 0
    tally: Tally | None = None

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        begun = time.perf_counter()
        writer.write(v2_request(MODEL, prompt, seed=None if again else next(SEEDS)))
        answer = await reader.readuntil(EVENT)
        first = time.perf_counter() - begun
        answer += await reader.readuntil(END)
        nonlocal others
        others += answer.count(b'"cache":"%b"' % way.encode()) != (words if way else 0)
        if answer.count(EVENT) != words:
            raise AnswerError(f"not {words} words: {answer[-400:]!r}")
        if tally is not None:
            tally.responses += words
            tally.received_bytes += len(answer)
            tally.first_seconds.append(first)

    connections = [
        await asyncio.open_connection("127.0.0.1", target.http, limit=MAX_ANSWER_BYTES)
        for _ in range(clients)
    ]

    async def one_after_another(connection: Any) -> None:
        while tally is None or tally.is_open():
            await one(*connection)

    if way == "hit":  # quick, and the burst of new connections is no part of what is measured
        for connection in connections:
            await one(*connection)
        others = 0
    tally = Tally(target.pid, seconds)
    await asyncio.gather(*map(one_after_another, connections))
    sample = tally.close()
    if others:
        what = f"{others} of {len(sample.first_seconds)} answers are not '{way}'"
        if way != "hit":
            raise AnswerError(what)
        # A shared store on a machine that is busy; the rate says the rest.
        print(what, file=sys.stderr)
    for _, writer in connections:
        writer.close()
    return sample


async def text_once(target: Target, prompt: str) -> Sample:
    """The question that `text_streams` asks again, asked for the first time."""
    tally = Tally(target.pid, 0)
    reader, writer = await asyncio.open_connection("127.0.0.1", target.http, limit=MAX_ANSWER_BYTES)
    writer.write(v2_request(MODEL, prompt))
    answer = await reader.readuntil(END)
    writer.close()
    tally.responses = answer.count(EVENT)
    return tally.close()


async def frame_stream(
    target: Target, requests: Sequence[bytes], in_flight: int, seconds: float, again: bool, way: str
) -> Sample:
    """One gRPC stream with so many frames on the wire; arguments as of `text_streams`."""

    def frames() -> Iterator[bytes]:
        for number in count():
            request = requests[number % len(requests)]
            # Protobuf's messages are joined by joining their bytes.
            yield request if again else request + _seed(next(SEEDS))

    asked = frames()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{target.grpc}", options=OPTIONS) as channel:
        call: Any = channel.stream_stream(STREAM)()
        for _ in range(len(requests) if again else in_flight):  # the first time, and warm
            await call.write(next(asked))
            await call.read()
        tally = Tally(target.pid, seconds)
        sent = 0
        while sent < in_flight:
            await call.write(next(asked))
            sent += 1
        while tally.responses < sent:
            answer = await call.read()
            if answer is grpc.aio.EOF or (tally.responses == 0 and _way(answer) != way):
                raise AnswerError(f"no frame that is '{way}': {answer[:300]!r}")
            tally.responses += 1
            tally.received_bytes += len(answer)
            if tally.is_open():
                await call.write(next(asked))
                sent += 1
        sample = tally.close()
        await call.done_writing()
        return sample


def _seed(number: int) -> bytes:
    request = pb.ModelInferRequest()
    request.parameters["seed"].int64_param = number
    return request.SerializeToString()


def _way(answer: bytes) -> str:
    response = pb.ModelInferResponse.FromString(answer)
    return response.parameters["cache"].string_param if "cache" in response.parameters else ""
