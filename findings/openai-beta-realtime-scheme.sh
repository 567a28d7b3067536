#!/usr/bin/env bash
# openai-python 3.57.0 with websockets 17.4: `realtime.connect` and `beta.realtime.connect` of a
# client whose base_url is plain HTTP, as a local server's is.
#
# Expected: both speak plain WebSocket to it, or say what to set.
# Seen: `realtime` does; `beta.realtime` begins TLS. With the client's `websocket_base_url` it does
# not.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet openai==3.57.0 httpx2 websockets==17.4
venv/bin/python - <<'PYTHON'
import asyncio

import openai

first = []


async def served(reader, writer):
    first.append(await reader.read(3))
    writer.close()


async def begun(realtime):
    first.clear()
    try:
        async with realtime.connect(model="m"):
            pass
    except Exception:
        pass
    return "TLS" if first[0][:1] == b"\x16" else first[0].decode()


async def main():
    server = await asyncio.start_server(served, "127.0.0.1", 0)
    address = "127.0.0.1:%d/v1" % server.sockets[0].getsockname()[1]
    plain = openai.AsyncOpenAI(base_url=f"http://{address}", api_key="none")
    told = openai.AsyncOpenAI(
        base_url=f"http://{address}", websocket_base_url=f"ws://{address}", api_key="none"
    )
    found = [await begun(each) for each in (plain.realtime, plain.beta.realtime, told.beta.realtime)]
    print("realtime, beta.realtime, beta.realtime with websocket_base_url:", found)
    assert found == ["GET", "TLS", "GET"]


asyncio.run(main())
PYTHON
