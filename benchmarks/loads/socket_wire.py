"""A WebSocket: frames cut from the bytes as they come.

The mask is zeros, which RFC 6455 lets a client choose: the server undoes it as any other.
"""

import asyncio
import base64
import json
import os
import struct
from typing import Any, cast

from .load_process import AnswerError
from .wire import Told, unheard

TEXT, BINARY = 1, 2
FINAL = b'"final":true'
LENGTH = struct.Struct("<I")
SIZE = "binary_data_size"


def frame(data: bytes) -> bytes:
    """A client's frame, text where it begins as JSON does."""
    first, size = 0x80 | (TEXT if data.startswith(b"{") else BINARY), len(data)
    if size < 126:
        head = bytes((first, 0x80 | size))
    elif size < 65536:
        head = struct.pack("!BBH", first, 0x80 | 126, size)
    else:
        head = struct.pack("!BBQ", first, 0x80 | 127, size)
    return head + bytes(4) + data


def binary_request(tensor: str, element: bytes, request_id: str = "0") -> bytes:
    """A message with one BYTES tensor, which wants its answer's in bytes too."""
    raw = LENGTH.pack(len(element)) + element
    described = {"name": tensor, "datatype": "BYTES", "shape": [1]}
    whole = {"id": request_id, "inputs": [{**described, "parameters": {SIZE: len(raw)}}]}
    head = json.dumps({**whole, "parameters": {"binary_data_output": True}}).encode()
    return LENGTH.pack(len(head)) + head + raw


def parts(message: bytes) -> tuple[Any, bytes]:
    """A message's JSON, and the bytes after it."""
    if message.startswith(b"{"):
        return json.loads(message), b""
    end = LENGTH.size + LENGTH.unpack_from(message)[0]
    return json.loads(message[LENGTH.size : end]), message[end:]


class SocketWire(asyncio.Protocol):
    """One socket to one model. A stream (wire.py)."""

    in_turn = False

    def __init__(self, host: str, port: int, model: str) -> None:
        self._server, self._path = (host, port), f"/v2/models/{model}/stream"
        self._transport: asyncio.Transport | None = None
        self._rest, self._size, self._is_open = b"", 0, False
        self._messages: asyncio.Queue[bytes] = asyncio.Queue()
        self._told: Told = self._messages.put_nowait
        self._done: asyncio.Future[None] | None = None

    async def open(self) -> None:
        if self._transport is not None:
            return
        loop = asyncio.get_running_loop()
        self._done = loop.create_future()
        await loop.create_connection(lambda: self, *self._server)
        key = base64.b64encode(os.urandom(16)).decode()
        lines = [
            f"GET {self._path} HTTP/1.1",
            f"Host: {self._server[0]}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Key: {key}",
            "Sec-WebSocket-Version: 13",
        ]
        self._write("\r\n".join(lines).encode() + b"\r\n\r\n")
        await self._done

    def _write(self, data: bytes) -> None:
        assert self._transport is not None
        self._transport.write(data)

    async def ask(self, request: bytes, told: Told = unheard) -> int:
        """A request that has a stream of its own; its final message is not told."""
        self._done, self._told, self._size = asyncio.get_running_loop().create_future(), told, 0
        self._write(frame(request))
        await self._done
        return self._size

    async def whole(self, request: bytes) -> list[bytes]:
        found: list[bytes] = []
        await self.ask(request, found.append)
        return found

    async def send(self, request: bytes) -> None:
        self._write(frame(request))

    async def end(self) -> None:
        """The answers that are still due come before the socket is closed."""

    async def receive(self) -> bytes:
        message = await self._messages.get()
        if not message:
            raise AnswerError("the socket was closed")
        return message

    def read(self, message: bytes) -> tuple[str, str]:
        found, _ = parts(message)
        return str(found.get("error", "")), str(found.get("id", ""))

    async def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    # asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._size += len(data)
        self._rest = data = self._rest + data if self._rest else data
        if not self._is_open:
            head, end, data = data.partition(b"\r\n\r\n")
            if not end:
                return
            self._is_open = True
            refused = None if b" 101 " in head else AnswerError(head.decode("latin-1"))
            self._end(refused)
        at = 0
        while len(data) - at >= 2:
            size, start = data[at + 1], at + 2
            if size > 125:
                start += 2 if size == 126 else 8
                if len(data) < start:
                    break
                size = int.from_bytes(data[at + 2 : start])
            if len(data) < start + size:
                break
            if data[at] & 15 in (TEXT, BINARY):
                self._message(data[start : start + size])
            at = start + size
        self._rest = data[at:]

    def _message(self, data: bytes) -> None:
        if FINAL in data and data.startswith(b"{"):
            self._end(None)
        else:
            self._told(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._messages.put_nowait(b"")
        self._end(AnswerError("the socket was closed"))

    def _end(self, error: Exception | None) -> None:
        if self._done is not None and not self._done.done():
            if error is None:
                self._done.set_result(None)
            else:
                self._done.set_exception(error)
