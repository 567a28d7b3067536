"""Streams over a WebSocket: frames cut from the bytes as they come, checked by length.

The mask is zeros, which RFC 6455 lets a client choose: the server undoes it as any other.
"""

import asyncio
import base64
import json
import os
import struct
import time
from collections.abc import Callable, Sequence

from ..contenders.process import Target
from .first_load import again
from .load_process import AnswerError, Tally
from .samples import Sample

TEXT, BINARY = 1, 2
FINAL = b'"final":true'


def frame(opcode: int, data: bytes) -> bytes:
    """A client's frame."""
    size, first = len(data), 0x80 | opcode
    if size < 126:
        head = bytes((first, 0x80 | size))
    elif size < 65536:
        head = struct.pack("!BBH", first, 0x80 | 126, size)
    else:
        head = struct.pack("!BBQ", first, 0x80 | 127, size)
    return head + bytes(4) + data


def binary_request(tensor: str, element: bytes, request_id: str = "0") -> bytes:
    """A message with one BYTES tensor, which wants its answer's in bytes too."""
    raw = struct.pack("<I", len(element)) + element
    described = {
        "name": tensor,
        "datatype": "BYTES",
        "shape": [1],
        "parameters": {"binary_data_size": len(raw)},
    }
    whole = {"id": request_id, "inputs": [described], "parameters": {"binary_data_output": True}}
    head = json.dumps(whole).encode()
    return struct.pack("<I", len(head)) + head + raw


class SocketStream(asyncio.Protocol):
    """One socket.

    Attributes:
        on_message: told of each message as it is whole.
        size: bytes that have come.
    """

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.on_message: Callable[[bytes], None] = lambda data: None
        self.size = 0
        self._rest = b""
        self.opened: asyncio.Future[None] = loop.create_future()
        self.failed: asyncio.Future[None] = loop.create_future()

    @classmethod
    async def connect(cls, host: str, port: int, model: str) -> "SocketStream":
        loop = asyncio.get_running_loop()
        transport, stream = await loop.create_connection(cls, host, port)
        key = base64.b64encode(os.urandom(16)).decode()
        lines = [
            f"GET /v2/models/{model}/stream HTTP/1.1",
            f"Host: {host}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Key: {key}",
            "Sec-WebSocket-Version: 13",
        ]
        transport.write("\r\n".join(lines).encode() + b"\r\n\r\n")
        stream.transport = transport
        await stream.opened
        return stream

    transport: asyncio.Transport

    def send(self, frame: bytes) -> None:
        self.transport.write(frame)

    def close(self) -> None:
        self.transport.abort()

    def data_received(self, data: bytes) -> None:
        self.size += len(data)
        self._rest = data = self._rest + data if self._rest else data
        at = 0
        if not self.opened.done():
            head, end, _ = data.partition(b"\r\n\r\n")
            if not end:
                return
            if b" 101 " not in head:
                self.opened.set_exception(AnswerError(head.decode("latin-1")))
                return
            self.opened.set_result(None)
            at = len(head) + len(end)
        while len(data) - at >= 2:
            size, start = data[at + 1], at + 2
            if size == 126:
                if len(data) < at + 4:
                    break
                size, start = int.from_bytes(data[at + 2 : at + 4]), at + 4
            elif size == 127:
                if len(data) < at + 10:
                    break
                size, start = int.from_bytes(data[at + 2 : at + 10]), at + 10
            if len(data) < start + size:
                break
            if data[at] & 15 in (TEXT, BINARY):
                self.on_message(data[start : start + size])
            at = start + size
        self._rest = data[at:]

    def connection_lost(self, exc: Exception | None) -> None:
        for waiting in (self.opened, self.failed):
            if not waiting.done():
                waiting.set_exception(AnswerError("the socket was closed"))
                waiting.exception()  # seen, whoever looks


async def socket_first(
    target: Target,
    seconds: float,
    model: str,
    request: bytes,
    is_right: Callable[[Sequence[bytes]], bool],
    streams: int,
) -> Sample:
    """Streams of their own, one at a time on each socket, as `sse_first` has them."""
    asked = frame(TEXT, request)
    opened = [await SocketStream.connect("127.0.0.1", target.http, model) for _ in range(streams)]
    wanted = 0

    async def one(index: int, tally: Tally | None) -> None:
        nonlocal wanted
        stream, begun, before = opened[index], time.perf_counter(), opened[index].size
        done = asyncio.get_running_loop().create_future()
        messages: list[bytes] = []

        def message(data: bytes) -> None:
            if tally is not None and not messages:
                tally.first_seconds.append(time.perf_counter() - begun)
            if FINAL in data:
                done.set_result(None)
            else:
                messages.append(data)

        stream.on_message = message
        stream.send(asked)
        await asyncio.wait((done, stream.failed), return_when=asyncio.FIRST_COMPLETED)
        if stream.failed.done():
            stream.failed.result()
        size = stream.size - before
        if tally is None:
            if not is_right(messages):
                raise AnswerError(f"a wrong answer: {messages[:3]!r}")
            wanted = size
            return
        if size != wanted:
            raise AnswerError(f"{size} bytes, not {wanted}")
        tally.responses += len(messages)
        tally.received_bytes += size

    for index in range(streams):
        await one(index, None)
    sample = await again(target, seconds, one, streams)
    for each in opened:
        each.close()
    return sample


async def socket_frames(
    target: Target,
    seconds: float,
    model: str,
    requests: Sequence[bytes],
    is_right: Callable[[int, bytes], bool],
    in_flight: int,
) -> Sample:
    """A response a request, `in_flight` requests on the wire; 1 is lockstep."""
    stream = await SocketStream.connect("127.0.0.1", target.http, model)
    answers: asyncio.Queue[bytes] = asyncio.Queue()
    stream.on_message = answers.put_nowait
    frames = [frame(BINARY, request) for request in requests]
    lengths = []
    for index, each in enumerate(frames):
        stream.send(each)
        answer = await answers.get()
        if not is_right(index, answer):
            raise AnswerError(f"the answer to request {index} is wrong: {answer[:300]!r}")
        lengths.append(len(answer))
    tally, sent, received = Tally(target.pid, seconds), 0, 0
    for _ in range(in_flight):
        stream.send(frames[sent % len(frames)])
        sent += 1
    while received < sent:
        answer = await answers.get()
        if len(answer) != lengths[received % len(frames)]:
            raise AnswerError(f"response {received} has {len(answer)} bytes")
        received += 1
        tally.responses += 1
        tally.received_bytes += len(answer)
        if tally.is_open():
            stream.send(frames[sent % len(frames)])
            sent += 1
    sample = tally.close()
    stream.close()
    return sample
