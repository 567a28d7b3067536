#!/usr/bin/env bash
# grpcio 1.85.1, grpc.aio server: a handler of a stream that yields one response larger than
# `grpc.max_send_message_length`.
#
# Expected: the write fails in the handler, which can answer that request with an error and go on.
# Seen: the whole call ends, RESOURCE_EXHAUSTED for the client, also for the requests behind it; the
# handler is only closed (GeneratorExit), as it is where a client has gone, and cannot tell the two
# apart.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet grpcio==1.85.1
venv/bin/python - <<'PYTHON'
import asyncio

import grpc

seen = []


class Handler(grpc.GenericRpcHandler):
    def service(self, details):
        return grpc.stream_stream_rpc_method_handler(self.answer)

    async def answer(self, messages, context):
        try:
            async for message in messages:
                yield bytes(int(message))
        except BaseException as error:
            seen.append(type(error).__name__)
            raise


async def main():
    server = grpc.aio.server(options=[("grpc.max_send_message_length", 1000)])
    server.add_generic_rpc_handlers((Handler(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.stream_stream("/a/b")(timeout=20)
        answers = []
        for size in (b"10", b"2000", b"10"):
            try:
                await call.write(size)
                answer = await call.read()
            except (grpc.aio.AioRpcError, asyncio.InvalidStateError) as error:
                answers.append(type(error).__name__)
                break
            if answer is grpc.aio.EOF:
                break
            answers.append(len(answer))
        code = await call.code()
    await server.stop(None)
    print("answers:", answers, "status:", code.name, "the handler saw:", seen)
    assert answers[0] == 10 and answers[1:] in ([], ["AioRpcError"]), answers
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert seen == ["GeneratorExit"], seen


asyncio.run(main())
PYTHON
