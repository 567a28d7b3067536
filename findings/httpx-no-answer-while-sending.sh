#!/usr/bin/env bash
# httpx 0.28.1 and aiohttp 3.14.5: a server that answers each piece of a request's body as it comes.
#
# Expected (RFC 9112, 9.3, lets a server answer before the request is whole): the client can read
# the first answer before it sends the next piece.
# Seen: aiohttp does; httpx, also asynchronously, sends all of a generator before it reads anything.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet httpx==0.28.1 aiohttp==3.14.5
venv/bin/python - <<'PYTHON'
import asyncio

import aiohttp
import httpx

HEAD = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"


async def serve(reader, writer):
    """Answers each line with the same, once the head is there."""
    await reader.readuntil(b"\r\n\r\n")
    writer.write(HEAD)
    while line := await reader.readline():
        if line.strip().isalpha():
            writer.write(line)
        elif line == b"0\r\n":
            break
    writer.close()


async def lines(heard, log):
    for text in ("one", "two"):
        log.append(f"sends {text}")
        yield text.encode() + b"\n"
        try:
            await asyncio.wait_for(heard.wait(), 1)
        except TimeoutError:
            log.append("hears nothing")
        heard.clear()


async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = "http://127.0.0.1:%d/" % server.sockets[0].getsockname()[1]
    found = {}
    log, heard = [], asyncio.Event()
    async with aiohttp.ClientSession() as client:
        async with client.post(url, data=lines(heard, log)) as answer:
            async for line in answer.content:
                log.append(f"hears {line.decode().strip()}")
                heard.set()
    found["aiohttp"] = log
    log, heard = [], asyncio.Event()
    async with httpx.AsyncClient(trust_env=False) as client:
        async with client.stream("POST", url, content=lines(heard, log)) as answer:
            async for line in answer.aiter_lines():
                log.append(f"hears {line}")
                heard.set()
    found["httpx"] = log
    for name, log in found.items():
        print(name, "->", ", ".join(log))
    assert found["aiohttp"] == ["sends one", "hears one", "sends two", "hears two"]
    assert found["httpx"] == [
        *("sends one", "hears nothing", "sends two", "hears nothing", "hears one", "hears two")
    ]


asyncio.run(main())
PYTHON
