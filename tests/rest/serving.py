"""A server of ours on a free port of the loopback, in this process, and bare connections to it."""

import asyncio
from contextlib import asynccontextmanager
from http.client import HTTPResponse
from io import BytesIO

import uvicorn

from mlserver_streaming.rest import half_closed, http_protocol, http_server
from mlserver_streaming.rest.http_server import HttpServer

PATIENCE = 20  # seconds
END = b"\r\n0\r\n\r\n"


async def sizes(scope, receive, send):
    """Reads the body of a POST, and none of a GET."""
    size, more = 0, scope["method"] == "POST"
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        size, more = size + len(message["body"]), message["more_body"]
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(size).encode()})


@asynccontextmanager
async def serving(monkeypatch, idle_seconds=60.0, app=sizes, room=None, **limits):
    """The port of a server with these limits instead of its own."""
    for name, value in limits.items():
        for module in (half_closed, http_protocol, http_server):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, value)
    config = uvicorn.Config(
        app, port=0, log_config=None, timeout_keep_alive=PATIENCE, lifespan="off"
    )
    server = HttpServer(config, idle_seconds, room=room)
    running = asyncio.create_task(server.serve())
    async with asyncio.timeout(PATIENCE):
        while not server.started:  # noqa: ASYNC110 uvicorn has no event for it
            await asyncio.sleep(0.01)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        await asyncio.wait_for(running, PATIENCE)


@asynccontextmanager
async def connected(port):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def rest(reader):
    """What comes until the server ends the connection."""
    try:
        return await asyncio.wait_for(reader.read(), PATIENCE)
    except ConnectionError:
        return b""


async def asked(reader, writer, request):
    writer.write(request)
    return await asyncio.wait_for(reader.readuntil(END), PATIENCE)


class Received:
    """Bytes, as http.client takes a socket."""

    def __init__(self, data):
        self.file = BytesIO(data)
        self.file.close = lambda: None

    def makefile(self, mode):
        return self.file

    def answers(self, method="GET"):
        """Status and body of each answer."""
        found = []
        while self.file.tell() < len(self.file.getvalue()):
            response = HTTPResponse(self, method=method)
            response.begin()
            found.append((response.status, response.read().decode()))
        return found
