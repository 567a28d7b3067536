"""Bare connections for the faults: what no well-behaved client does."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from typing import Any

from tests.live.rest_calls import Body, path
from tests.live.service import Service

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]
END = b"\r\n0\r\n\r\n"


def stream_request(model: str, body: Body, encoding: str = "identity") -> bytes:
    """The bytes of a POST to `generate_stream`, which takes answers in this encoding."""
    target = path(model, "generate_stream")
    return request(target, json.dumps(body).encode(), Accept_Encoding=encoding)


def request(target: str, body: bytes, *, length: int | None = None, **headers: str) -> bytes:
    """The bytes of a POST.

    Args:
        length: what it says of its body's; the body's own where there is none.
        headers: named as Python has it, an underscore for each hyphen.
    """
    lines = [f"POST {target} HTTP/1.1", "Host: localhost", "Content-Type: application/json"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    lines.append(f"Content-Length: {len(body) if length is None else length}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def connect(service: Service, **arguments: Any) -> Connection:
    return await asyncio.open_connection("127.0.0.1", service.http, **arguments)


@asynccontextmanager
async def connections(service: Service, count: int) -> AsyncIterator[list[Connection]]:
    """So many connections, closed at the end, the hard way."""
    opened: list[Connection] = []
    try:
        for _ in range(count):
            opened.append(await connect(service))
        yield opened
    finally:
        for _, writer in opened:
            reset(writer)


def reset(writer: asyncio.StreamWriter) -> None:
    """Vanish: no goodbye, whatever was not sent or read is thrown away."""
    found = writer.get_extra_info("socket")
    if found is not None and found.fileno() >= 0:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@contextmanager
def deaf_sockets(service: Service, request: bytes, count: int = 1) -> Iterator[None]:
    """So many connections that send a request and never read; little fits into their buffers."""
    with ExitStack() as stack:
        for _ in range(count):
            deaf = stack.enter_context(socket.socket())
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            deaf.connect(("127.0.0.1", service.http))
            deaf.sendall(request)
        yield
