"""The sockets of a data plane on a free port, in this process; and bare frames to them."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import struct
from collections.abc import AsyncIterator
from typing import Any

import uvicorn
from starlette.applications import Starlette

from mlserver_streaming.rest.http_server import HttpServer
from mlserver_streaming.sockets import SocketEndpoint
from mlserver_streaming.streams.data_plane import StreamingDataPlane

PATIENCE = 20  # seconds
CONT, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


@contextlib.asynccontextmanager
async def serving(plane: StreamingDataPlane, **limits: Any) -> AsyncIterator[int]:
    """The port of a server of the plane's sockets."""
    app = Starlette(routes=SocketEndpoint(plane).routes())
    config = uvicorn.Config(app, port=0, log_config=None, lifespan="off")
    server = HttpServer(config, 60, lambda path: path.endswith("/stream"), **limits)
    running = asyncio.create_task(server.serve())
    async with asyncio.timeout(PATIENCE):
        while not server.started:  # noqa: ASYNC110 uvicorn has no event for it
            await asyncio.sleep(0.01)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        await asyncio.wait_for(running, PATIENCE)


def frame(opcode: int, data: bytes = b"", *, fin: bool = True, **odd: Any) -> bytes:
    """A client's frame.

    Args:
        odd: `mask=False`, `length=` what it says of its own, `rsv=` reserved bits.
    """
    size = odd.get("length", len(data))
    first = opcode | (0x80 if fin else 0) | odd.get("rsv", 0)
    masked = 0x80 if odd.get("mask", True) else 0
    if size < 126:
        head = bytes((first, masked | size))
    elif size < 65536:
        head = struct.pack("!BBH", first, masked | 126, size)
    else:
        head = struct.pack("!BBQ", first, masked | 127, size)
    if not masked:
        return head + data
    mask = b"\x8a\x00\xff\x31"  # always the same: frames name the cases of tests
    spread = (mask * (len(data) // 4 + 1))[: len(data)]
    hidden = int.from_bytes(data) ^ int.from_bytes(spread)
    return head + mask + hidden.to_bytes(len(data))


class Raw:
    """A connection whose frames are made by hand."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes):
        self.reader, self.writer, self.head = reader, writer, head

    @property
    def status(self) -> int:
        return int(self.head.split(b" ")[1])

    def send(self, *frames: bytes) -> None:
        self.writer.write(b"".join(frames))

    async def frame(self) -> tuple[int, bytes]:
        """The next frame's opcode and data."""
        first, size = await self.reader.readexactly(2)
        if size == 126:
            (size,) = struct.unpack("!H", await self.reader.readexactly(2))
        elif size == 127:
            (size,) = struct.unpack("!Q", await self.reader.readexactly(8))
        return first & 15, await self.reader.readexactly(size)

    async def closed(self) -> tuple[int, str]:
        """The code and the reason that it is closed with, whatever comes before."""
        async with asyncio.timeout(PATIENCE):
            while True:
                opcode, data = await self.frame()
                if opcode == CLOSE:
                    assert len(data) <= 125
                    code = struct.unpack("!H", data[:2])[0] if data else 1005
                    return code, data[2:].decode()

    async def ended(self) -> bool:
        """Whether the connection ends, once whatever comes is read."""
        async with asyncio.timeout(PATIENCE):
            while await self.reader.read(65536):
                pass
            return True


@contextlib.asynccontextmanager
async def raw(
    port: int, model: str, *headers: str, early: bytes = b"", base: str = "", **replaced: str
) -> AsyncIterator[Raw]:
    """Such a connection, its upgrade asked for.

    Args:
        early: what is sent behind the request at once.
        base: what its target begins with.
    """
    named = {
        "Host": "localhost",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
        "Sec-WebSocket-Version": "13",
        **{name.replace("_", "-"): value for name, value in replaced.items()},
    }
    lines = [f"GET {base}/v2/models/{model}/stream HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in named.items() if value] + list(headers)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write("\r\n".join([*lines, "", ""]).encode() + early)
        async with asyncio.timeout(PATIENCE):
            head = await reader.readuntil(b"\r\n\r\n")
        yield Raw(reader, writer, head)
    finally:
        writer.transport.abort()
