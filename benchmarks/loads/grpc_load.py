"""Streams over grpc.aio with nothing encoded or decoded: bytes out, bytes in, checked by length.

The first answers are decoded and checked whole; all later ones must be as long.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import grpc
from mlserver.grpc import dataplane_pb2 as pb

from ..contenders.contenders import MAX_MESSAGE_BYTES
from ..contenders.process import Target
from .load_window import AnswerError, Tally
from .samples import Sample

STREAM = "/inference.GRPCInferenceService/ModelStreamInfer"
UNARY = "/inference.GRPCInferenceService/ModelInfer"
OPTIONS = [
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
]
# A server that has not loaded its models is not the measured one; a hung one must not hang us.
CALL_SECONDS = 120.0

Check = Callable[[int, bytes], bool]
Unwrap = Callable[[bytes], bytes]


def text_call(model: str, prompt: str) -> bytes:
    """The serialised request for one stream of a text model, its tensor typed."""
    tensor = pb.ModelInferRequest.InferInputTensor(
        name="prompt",
        datatype="BYTES",
        shape=[1],
        contents=pb.InferTensorContents(bytes_contents=[prompt.encode()]),
    )
    return pb.ModelInferRequest(model_name=model, id="0", inputs=[tensor]).SerializeToString()


async def grpc_streams(
    target: Target,
    model: str,
    prompt: str,
    unwrap: Unwrap,
    clients: int,
    seconds: float,
    at_once: bool,
) -> Sample:
    """`clients` at a time, each with one stream (one request, a response a word) after another.

    Args:
        unwrap: takes a reply's ModelInferResponse out of it, where the dialect wraps it.
        at_once: all streams begin at the same moment, and the next ones when all have ended.
    """
    request = text_call(model, prompt)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{target.grpc}", options=OPTIONS) as channel:
        stream: Any = channel.stream_stream(STREAM)
        answers = [answer async for answer in stream(iter([request]), timeout=CALL_SECONDS)]
        if said(map(unwrap, answers)) != prompt:
            raise AnswerError(f"not the prompt again: {answers[:3]!r}")
        wanted = (len(answers), sum(map(len, answers)))
        tally = Tally(target.pid, seconds)

        async def one(begun: float) -> None:
            events = size = 0
            async for answer in stream(iter([request]), timeout=CALL_SECONDS):
                if not events:
                    tally.first_seconds.append(time.perf_counter() - begun)
                events += 1
                size += len(answer)
            if (events, size) != wanted:
                raise AnswerError(f"{events} responses, {size} bytes: not {wanted}")
            tally.responses += events
            tally.received_bytes += size

        async def one_after_another() -> None:
            while tally.is_open():
                await one(time.perf_counter())

        if at_once:
            while tally.is_open():
                begun = time.perf_counter()
                await asyncio.gather(*(one(begun) for _ in range(clients)))
        else:
            await asyncio.gather(*(one_after_another() for _ in range(clients)))
        return tally.close()


def said(answers: Iterable[bytes]) -> str:
    """The text that a stream's responses hold, joined."""
    return b"".join(map(word, answers)).decode()


def word(answer: bytes) -> bytes:
    """The word of a response, raw as Triton gives it or typed."""
    response = pb.ModelInferResponse.FromString(answer)
    if response.raw_output_contents:
        return bytes(response.raw_output_contents[0][4:])
    return bytes(response.outputs[0].contents.bytes_contents[0])


async def grpc_messages(
    target: Target,
    requests: Sequence[bytes],
    is_right: Check,
    in_flight: int,
    seconds: float,
    streams: int = 1,
    in_order: bool = True,
) -> Sample:
    """A response a request, `in_flight` requests on the wire of each stream; 1 is lockstep.

    Args:
        in_order: answers come in the order of the requests; else any right answer's length will do
            for each of them.
    """
    async with grpc.aio.insecure_channel(f"127.0.0.1:{target.grpc}", options=OPTIONS) as channel:
        calls: list[Any] = [
            channel.stream_stream(STREAM)(timeout=CALL_SECONDS) for _ in range(streams)
        ]
        lengths = []
        for index, request in enumerate(requests):
            await calls[index % streams].write(request)
            lengths.append(checked(index, await read(calls[index % streams]), is_right))
        tally = Tally(target.pid, seconds)

        async def drive(call: Any) -> None:
            sent = received = 0
            for _ in range(in_flight):
                await call.write(requests[sent % len(requests)])
                sent += 1
            while received < sent:
                answer = await read(call)
                wanted = lengths[received % len(requests)]
                if len(answer) != wanted and (in_order or len(answer) not in lengths):
                    raise AnswerError(f"response {received} has {len(answer)} bytes")
                received += 1
                tally.responses += 1
                tally.received_bytes += len(answer)
                if tally.is_open():
                    await call.write(requests[sent % len(requests)])
                    sent += 1

        await asyncio.gather(*map(drive, calls))
        sample = tally.close()
        for call in calls:
            await call.done_writing()
        return sample


async def grpc_unary(
    target: Target,
    requests: Sequence[bytes],
    is_right: Check,
    in_flight: int,
    seconds: float,
) -> Sample:
    """`in_flight` unary calls at a time, one after another."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{target.grpc}", options=OPTIONS) as channel:
        ask: Any = channel.unary_unary(UNARY)
        lengths = [
            checked(n, await ask(each, timeout=CALL_SECONDS), is_right)
            for n, each in enumerate(requests)
        ]
        tally = Tally(target.pid, seconds)

        async def one_after_another(index: int) -> None:
            while tally.is_open():
                answer = await ask(requests[index % len(requests)], timeout=CALL_SECONDS)
                if len(answer) != lengths[index % len(requests)]:
                    raise AnswerError(f"a response of {len(answer)} bytes")
                tally.responses += 1
                tally.received_bytes += len(answer)
                index += 1

        await asyncio.gather(*map(one_after_another, range(in_flight)))
        return tally.close()


async def read(call: Any) -> bytes:
    """The next response of a stream that must have one."""
    answer = await call.read()
    if answer is grpc.aio.EOF:
        raise AnswerError(f"the stream ended: {await call.code()} {await call.details()}")
    return bytes(answer)


def checked(index: int, answer: bytes, is_right: Check) -> int:
    """The length of an answer that is right."""
    if not is_right(index, answer):
        raise AnswerError(f"the answer to request {index} is wrong: {answer[:300]!r}")
    return len(answer)
