"""A WebSocket, by the library `websockets`."""

import json
import struct
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from .load_process import AnswerError, Told, unheard

FINAL = b'"final":true'
LENGTH = struct.Struct("<I")
SIZE = "binary_data_size"


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


class SocketWire:
    """One socket to one model (calls.py); messages are text where they begin as JSON does."""

    in_turn = False

    def __init__(self, host: str, port: int, model: str) -> None:
        self._address = f"ws://{host}:{port}/v2/models/{model}/stream"
        self._socket: ClientConnection | None = None

    async def open(self) -> None:
        if self._socket is None:
            plain: dict[str, Any] = {"compression": None, "ping_interval": None, "proxy": None}
            try:
                self._socket = await connect(self._address, max_size=None, **plain)
            except WebSocketException as error:
                raise AnswerError(str(error)) from None

    async def ask(self, request: bytes, told: Told = unheard) -> int:
        """A request that has a stream of its own; its final message is not told."""
        size = 0
        await self.send(request)
        while FINAL not in (message := await self.receive()):
            size += len(message)
            told(message)
        return size

    async def whole(self, request: bytes) -> list[bytes]:
        found: list[bytes] = []
        await self.ask(request, found.append)
        return found

    async def send(self, request: bytes) -> None:
        assert self._socket is not None
        await self._socket.send(request, text=request.startswith(b"{"))

    async def end(self) -> None:
        """The answers that are still due come before the socket is closed."""

    async def receive(self) -> bytes:
        assert self._socket is not None
        try:
            return await self._socket.recv(decode=False)
        except WebSocketException as error:
            raise AnswerError(f"the socket was closed: {error}") from None

    def read(self, message: bytes) -> tuple[str, str]:
        found, _ = parts(message)
        return str(found.get("error", "")), str(found.get("id", ""))

    async def close(self) -> None:
        if self._socket is not None:
            self._socket.transport.abort()
