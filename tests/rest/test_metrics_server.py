"""The metrics' thread ends with the service, whatever ends that."""

import asyncio
import threading
from contextlib import suppress

import uvicorn

from clients.server_process import free_ports
from mlserver_streaming.rest.http_server import HttpServer
from mlserver_streaming.rest.metrics_server import THREAD, _serve_apart

PATIENCE = 20


async def nothing(scope, receive, send):
    raise AssertionError("nobody asks")


async def test_the_thread_is_waited_for_and_no_connection_holds_it_up():
    [port] = free_ports(1)
    config = uvicorn.Config(nothing, host="127.0.0.1", port=port, lifespan="off", log_level="error")
    server = HttpServer(config, 5)
    serving = asyncio.create_task(_serve_apart(server))
    async with asyncio.timeout(PATIENCE):
        while not server.started:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\r\n")  # and no more of it
    [thread] = [each for each in threading.enumerate() if each.name == THREAD]
    assert not thread.daemon
    serving.cancel()
    with suppress(asyncio.CancelledError):
        await serving
    await asyncio.to_thread(thread.join, PATIENCE)
    assert not thread.is_alive()
    writer.close()
