#!/usr/bin/env bash
# grpcio 1.85.1, grpc.aio server: fifty calls come together, and the server is stopped, with a grace
# of five seconds, as it handles the first of them.
#
# Expected: all are answered in the grace, or refused as UNAVAILABLE.
# Seen: those that Python has not been given yet are CANCELLED, though their clients cancelled nothing.
# https://github.com/grpc/grpc/issues/41785
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet grpcio==1.85.1
venv/bin/python - <<'PYTHON'
import asyncio
from collections import Counter

import grpc


async def main():
    begun = asyncio.Event()

    async def answer(message, context):
        begun.set()
        return message

    class Handler(grpc.GenericRpcHandler):
        def service(self, details):
            return grpc.unary_unary_rpc_method_handler(answer)

    server = grpc.aio.server()
    server.add_generic_rpc_handlers((Handler(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        await channel.channel_ready()
        method = channel.unary_unary("/a/b")
        calls = [method(b"", timeout=20) for _ in range(50)]
        await begun.wait()
        await server.stop(5)
        seen = Counter([(await call.code()).name for call in calls])
    print(dict(seen))
    assert seen["CANCELLED"], seen


asyncio.run(main())
PYTHON
