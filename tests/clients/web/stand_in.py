"""A server of sockets that does what its path says, for the JavaScript client."""

from __future__ import annotations

import json
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus
from typing import Any

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from clients.server_process import HOST

STREAM, COUNT = "abcdefghijklmnopqrstuv", 5
RESTARTS = (1012, "The service restarts.")


class StandIn:
    """Counts who opened which path, since some paths do something else the second time."""

    def __init__(self) -> None:
        self._opened: dict[str, int] = {}

    def check(self, connection: ServerConnection, request: Request) -> Response | None:
        self._opened[request.path] = self._opened.get(request.path, 0) + 1
        again = request.path == "/gone" and self._opened[request.path] > 1
        if request.path == "/refused" or again:
            return connection.respond(HTTPStatus.SERVICE_UNAVAILABLE, "no")
        return None

    async def serve(self, connection: ServerConnection) -> None:
        request = connection.request
        assert request is not None
        path = request.path
        first = self._opened[path] == 1
        if path == "/too-many":
            await connection.close(4429, "Too many.")
            return
        with suppress(ConnectionClosed):
            await self._answer_all(connection, request, first)

    async def _answer_all(
        self, connection: ServerConnection, request: Request, first: bool
    ) -> None:
        path = request.path
        async for message in connection:
            asked, tail = _read(message)
            if asked.get("end"):
                return
            if path == "/restart-unanswered":
                await connection.close(*RESTARTS)
            elif path.startswith("/resumable"):
                await self._resumable(connection, path, asked)
            elif path == "/own":
                await self._own(connection, asked)
            elif path != "/last-of-three" or asked["id"] == "4":
                await connection.send(_answer(request, asked, tail))
            if path in {"/restart", "/token-then-restart", "/gone"} and first:
                await connection.close(*RESTARTS)

    async def _resumable(
        self, connection: ServerConnection, path: str, asked: dict[str, Any]
    ) -> None:
        """One answer a socket, or until it goes on elsewhere."""
        at = int(asked.get("resume", f"{STREAM}.0").rpartition(".")[2])
        if path == "/resumable/vain" and at:
            await connection.close(*RESTARTS)
        if path == "/resumable/gap":
            at += at
        if at < COUNT:
            place = f"{STREAM}.{at + 1}"
            answer = {"id": asked["id"], "outputs": [], "parameters": {"resume_id": place}}
            await connection.send(json.dumps(answer))
            if path == "/resumable/cut":
                await (await connection.ping())  # until it is read: Node loses what comes last
                connection.transport.abort()
            elif path == "/resumable/vain":
                await connection.close(*RESTARTS)
            else:
                told = {"error": "It goes on elsewhere.", "error_code": 503}
                failed = {"id": asked["id"], "outputs": [], "parameters": told}
                await connection.send(json.dumps(failed))
                await connection.send(json.dumps({"id": asked["id"], "final": True}))
        else:
            await connection.send(json.dumps({"id": asked["id"], "final": True}))

    async def _own(self, connection: ServerConnection, asked: dict[str, Any]) -> None:
        if cancelled := asked.get("cancel"):
            parameters = {"error": "Cancelled.", "error_code": 499}
            failed = {"id": cancelled, "outputs": [], "parameters": parameters}
            await connection.send(json.dumps(failed))
            await connection.send(json.dumps({"id": cancelled, "final": True}))
        else:
            await connection.send(json.dumps({"id": asked["id"], "outputs": []}))


def _read(message: str | bytes) -> tuple[dict[str, Any], bytes]:
    if isinstance(message, str):
        return json.loads(message), b""
    (length,) = struct.unpack_from("<I", message)
    return json.loads(message[4 : 4 + length]), message[4 + length :]


def _answer(request: Request, asked: dict[str, Any], tail: bytes) -> str | bytes:
    """Its inputs as outputs; where a token was shown, that."""
    offered = request.headers["Sec-WebSocket-Protocol"].split(", ")
    outputs = asked["inputs"]
    if len(offered) > 1:
        outputs = [{"name": "token", "datatype": "BYTES", "shape": [1], "data": offered[1:]}]
    head = json.dumps({"id": asked["id"], "outputs": outputs, "path": request.path})
    return struct.pack("<I", len(head)) + head.encode() + tail if tail else head


@asynccontextmanager
async def stand_in() -> AsyncIterator[str]:
    """Its address."""
    one = StandIn()
    server: Server
    async with serve(
        one.serve, HOST, 0, subprotocols=["v2.stream"], process_request=one.check
    ) as server:
        (listening,) = server.sockets
        yield f"ws://{HOST}:{listening.getsockname()[1]}"
