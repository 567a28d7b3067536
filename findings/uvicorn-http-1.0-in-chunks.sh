#!/usr/bin/env bash
# uvicorn 0.54.0 with httptools 0.9.0: an HTTP/1.0 request that is answered with a body of unknown
# length.
#
# Expected (RFC 9112, 6.1): no Transfer-Encoding to a client of HTTP/1.0; the body ends where the
# connection is closed.
# Seen: the answer comes in chunks, so such a client reads their sizes as a part of the body; with
# h11 instead of httptools it does not.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet uvicorn==0.54.0 httptools==0.9.0 h11==0.16.0
venv/bin/python - <<'PYTHON'
import asyncio
import socket

import uvicorn


async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello", "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def answer(http):
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, http=http, lifespan="off", log_level="error")
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve([listener]))
    reader, writer = await asyncio.open_connection(*listener.getsockname())
    writer.write(b"GET / HTTP/1.0\r\n\r\n")
    found = await asyncio.wait_for(reader.read(), 20)
    writer.close()
    server.should_exit = True
    await task
    head, _, body = found.partition(b"\r\n\r\n")
    return b"transfer-encoding: chunked" in head.lower(), body


found = {http: asyncio.run(answer(http)) for http in ("httptools", "h11")}
print(found)
assert found == {"httptools": (True, b"5\r\nhello\r\n0\r\n\r\n"), "h11": (False, b"hello")}
PYTHON
