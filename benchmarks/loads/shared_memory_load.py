"""Frames to a model that gives them back, over one gRPC stream: by the socket, or by shared memory.

Both ways the client has a frame in its memory and puts it where it leaves from, and has the answer
as an array at the end, whose last bytes it looks at; the first answers are compared whole.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import chain
from multiprocessing.shared_memory import SharedMemory
from typing import Any

import numpy as np
from mlserver.grpc import dataplane_pb2 as pb

from clients.server_process import HOST
from clients.shared_memory import registration

from ..contenders.process import Target
from .grpc_wire import CALL_SECONDS, GrpcWire
from .in_flight import keep_in_flight
from .load_process import AnswerError, Tally
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

    def request(self, regions: list[SharedMemory]) -> bytes:
        """A request without the bytes; they come and go by two regions, where there are any."""
        found = pb.ModelInferRequest(model_name=MODEL, id="0")
        tensors: list[Any] = [
            found.inputs.add(name="frame", datatype=self.datatype, shape=self.shape),
            found.outputs.add(name="frame"),
        ]
        for tensor, region in zip(tensors, regions, strict=False):
            tensor.parameters["shared_memory_region"].string_param = region.name
            tensor.parameters["shared_memory_byte_size"].int64_param = len(self.raw)
        return found.SerializeToString()


async def frames_and_back(
    target: Target, seconds: float, frame: Frame, in_flight: int, shared: bool
) -> Sample:
    """Frames in raw contents and answers out of them; or each in a region of its own, `shared`."""
    address, size, whole = f"{HOST}:{target.grpc}", len(frame.raw), np.frombuffer(frame.raw, "u1")
    wire = GrpcWire(address, timeout=CALL_SECONDS)
    await wire.open()
    with ExitStack() as stack:
        slots = [
            [stack.enter_context(_region(size)) for _ in range(2 * shared)]
            for _ in range(in_flight)
        ]
        for region in chain.from_iterable(slots):
            await _call(address, "Register", registration(region))
        prepared = [frame.request(regions) for regions in slots]

        async def send(index: int) -> None:
            slot, raw = index % in_flight, b""
            if shared:
                buffer: Any = slots[slot][0].buf
                buffer[:size] = frame.raw
            else:
                raw = pb.ModelInferRequest(raw_input_contents=[frame.raw]).SerializeToString()
            await wire.send(prepared[slot] + raw)  # protobuf's messages are joined by their bytes

        async def receive(index: int) -> int:
            message = pb.ModelInferResponse.FromString(await wire.receive() or b"")
            found: Any
            if shared:  # read before the next frame takes its place
                buffer: Any = slots[index % in_flight][1].buf
                found = np.array(np.frombuffer(buffer, np.uint8, size))
            else:
                found = np.frombuffer(message.raw_output_contents[0], np.uint8)
            part = slice(None) if index < in_flight else slice(-TAIL, None)
            if len(found) != size or not np.array_equal(found[part], whole[part]):
                raise AnswerError(f"answer {index} is not its frame")
            return size

        tally = Tally(target.pid, seconds)
        await keep_in_flight(tally, in_flight, send, receive)
        sample = tally.close()
        await wire.end()
        if shared:
            await _call(address, "Unregister", b"")
    await wire.close()
    return sample


async def _call(address: str, what: str, request: bytes) -> None:
    wire = GrpcWire(address, f"SystemSharedMemory{what}")
    await wire.open()
    await wire.ask(request)
    await wire.close()


@contextmanager
def _region(size: int) -> Iterator[SharedMemory]:
    region = SharedMemory(create=True, size=size)
    try:
        yield region
    finally:
        region.close()
        region.unlink()
