#!/usr/bin/env bash
# grpcio 1.85.1 (grpc.aio): a server that refuses a stream before it reads from it, and a client that
# writes its first request meanwhile.
#
# Expected: the client gets the server's status and its text, as grpc's synchronous client does.
# Seen: in some calls of a hundred, INTERNAL "Internal error from Core": the failed write puts its
# own status in the place of the server's.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet grpcio==1.85.1
venv/bin/python - <<'PYTHON'
import asyncio
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import grpc

CALLS = 3000


def refuse(requests, context):
    context.abort(grpc.StatusCode.NOT_FOUND, "the reason")
    yield


class Refusing(grpc.GenericRpcHandler):
    def service(self, details):
        return grpc.stream_stream_rpc_method_handler(refuse)


async def ask(channel):
    call = channel.stream_stream("/a/b")()

    async def write():
        try:
            await call.wait_for_connection()
            await call.write(b"x")
            await call.done_writing()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            pass

    writing = asyncio.create_task(write())
    try:
        async for _ in call:
            pass
    except grpc.aio.AioRpcError as error:
        return f"{error.code().name}: {error.details()}"
    finally:
        await writing


async def main():
    server = grpc.server(ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers((Refusing(),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        seen = Counter([await ask(channel) for _ in range(CALLS)])
    server.stop(None).wait()
    print(dict(seen))
    assert seen["NOT_FOUND: the reason"] > 0
    assert seen["INTERNAL: Internal error from Core"] > 0


asyncio.run(main())
PYTHON
