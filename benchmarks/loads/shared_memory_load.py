"""Frames to a model that gives them back, over one gRPC stream: by the socket, or by shared memory.

Both ways the client has a frame in its memory and puts it where it leaves from, and has the answer
as an array at the end, whose last bytes it looks at; the first answers are compared whole.
"""

from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import chain
from multiprocessing.shared_memory import SharedMemory
from typing import Any

import grpc
import numpy as np
from mlserver.grpc import dataplane_pb2 as pb

from clients.shared_memory import METHOD, registration

from ..contenders.process import Target
from .grpc_load import CALL_SECONDS, STREAM, read
from .load_process import AnswerError, Tally
from .plain_load import OPTIONS
from .samples import Sample

MODEL = "echo"
# What of an answer is compared each time.
TAIL = 64


@dataclass(frozen=True)
class Frame:
    """A tensor as it is sent: its raw bytes, its datatype and shape."""

    raw: bytes
    datatype: str
    shape: tuple[int, ...]


async def frames_by_socket(target: Target, seconds: float, frame: Frame, in_flight: int) -> Sample:
    """Frames in raw contents, and answers out of them."""

    def request(slot: int) -> bytes:
        found = _request(frame)
        found.raw_input_contents.append(frame.raw)
        return found.SerializeToString()

    def answer(slot: int, message: pb.ModelInferResponse) -> Any:
        return np.frombuffer(message.raw_output_contents[0], np.uint8)

    async with grpc.aio.insecure_channel(f"127.0.0.1:{target.grpc}", options=OPTIONS) as channel:
        return await _drive(channel, target, frame, request, answer, in_flight, seconds)


async def frames_by_region(target: Target, seconds: float, frame: Frame, in_flight: int) -> Sample:
    """Frames in a region for each that is on the way, and answers in another."""
    size = len(frame.raw)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{target.grpc}", options=OPTIONS) as channel:
        with ExitStack() as stack:
            pairs = [[_region(stack, size) for _ in range(2)] for _ in range(in_flight)]
            register: Any = channel.unary_unary(METHOD + "Register")
            for region in chain.from_iterable(pairs):
                await register(registration(region))
            try:
                requests = [_request(frame, size, *pair).SerializeToString() for pair in pairs]

                def request(slot: int) -> bytes:
                    buffer: Any = pairs[slot][0].buf
                    buffer[:size] = frame.raw
                    return requests[slot]

                def answer(slot: int, message: pb.ModelInferResponse) -> Any:
                    # Read before the next frame takes its place.
                    buffer: Any = pairs[slot][1].buf
                    return np.array(np.frombuffer(buffer, np.uint8, size))

                return await _drive(channel, target, frame, request, answer, in_flight, seconds)
            finally:
                unregister: Any = channel.unary_unary(METHOD + "Unregister")
                await unregister(b"")


async def _drive(
    channel: grpc.aio.Channel,
    target: Target,
    frame: Frame,
    request: Callable[[int], bytes],
    answer: Callable[[int, pb.ModelInferResponse], Any],
    in_flight: int,
    seconds: float,
) -> Sample:
    call: Any = channel.stream_stream(STREAM)(timeout=CALL_SECONDS)
    whole = np.frombuffer(frame.raw, np.uint8)
    tally = Tally(target.pid, seconds)
    sent = received = 0
    for slot in range(in_flight):
        await call.write(request(slot))
        sent += 1
    while received < sent:
        slot = received % in_flight
        found = answer(slot, pb.ModelInferResponse.FromString(await read(call)))
        part = slice(None) if received < in_flight else slice(-TAIL, None)
        if len(found) != len(whole) or not np.array_equal(found[part], whole[part]):
            raise AnswerError(f"answer {received} is not its frame")
        received += 1
        tally.responses += 1
        tally.received_bytes += len(found)
        if tally.is_open():
            await call.write(request(slot))
            sent += 1
    sample = tally.close()
    await call.done_writing()
    await call.read()
    return sample


def _region(stack: ExitStack, size: int) -> SharedMemory:
    region = stack.enter_context(closing(SharedMemory(create=True, size=size)))
    stack.callback(region.unlink)
    return region


def _request(frame: Frame, size: int = 0, *regions: SharedMemory) -> pb.ModelInferRequest:
    found = pb.ModelInferRequest(model_name=MODEL, id="0")
    tensors: list[Any] = [
        found.inputs.add(name="frame", datatype=frame.datatype, shape=frame.shape)
    ]
    tensors.append(found.outputs.add(name="frame"))
    for tensor, region in zip(tensors, regions, strict=False):
        tensor.parameters["shared_memory_region"].string_param = region.name
        tensor.parameters["shared_memory_byte_size"].int64_param = size
    return found
