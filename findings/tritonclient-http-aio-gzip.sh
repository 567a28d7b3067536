#!/usr/bin/env bash
# tritonclient 2.73.0, tritonclient.http.aio: a server that compresses where the client says that it
# may.
#
# Expected (RFC 9110, 12.5.3): who sends `Accept-Encoding: gzip` reads gzip.
# Seen: the client sends it with each call (aiohttp's default) and leaves the answer as it is
# (auto_decompress=False); of all answers but those of `infer` it reads JSON, and raises
# UnicodeDecodeError.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet 'tritonclient[http]==2.73.0' aiohttp==3.14.5
venv/bin/python - <<'PYTHON'
import asyncio
import gzip

from aiohttp import web
from tritonclient.http.aio import InferenceServerClient

asked = []


async def index(request):
    asked.append(request.headers.get("Accept-Encoding", ""))
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    return web.Response(body=gzip.compress(b"[]"), headers=headers)


async def main():
    app = web.Application()
    app.add_routes([web.post("/v2/repository/index", index)])
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    client = InferenceServerClient(f"127.0.0.1:{port}")
    try:
        await client.get_model_repository_index()
    except UnicodeDecodeError as error:
        print("asked for", asked, "and:", error)
    else:
        raise SystemExit("it reads gzip now")
    finally:
        await client.close()
        await runner.cleanup()
    assert "gzip" in asked[0]


asyncio.run(main())
PYTHON
