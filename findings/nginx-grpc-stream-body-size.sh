#!/usr/bin/env bash
# nginx 1.22.1 (Debian 12) before grpc.aio 1.85.1, `grpc_pass` with its defaults.
#
# Expected: a stream of small messages is bounded, if at all, message by message.
# Seen: all that one stream uploads counts as one body against `client_max_body_size` (1 MiB): a
# stream of 100 kB messages, each answered before the next is sent, is reset after 10; the client
# sees INTERNAL. With `client_max_body_size 0` all 20 are answered.
#
# Needs Debian 12 and its package registry; everything stays in a temporary folder.
set -euo pipefail
folder=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet grpcio==1.85.1
apt-get download --quiet=2 nginx 2>/dev/null
dpkg -x nginx_1.22.1-*.deb root
nginx=root/usr/sbin/nginx
"$nginx" -v 2>&1 | grep -F nginx/1.22.1

cat > client.py <<'PYTHON'
import asyncio
import subprocess
import sys

import grpc

CONF = """
daemon off; pid {folder}/pid; error_log {folder}/log;
events {{}}
http {{
  access_log off; client_body_temp_path {folder}/b; proxy_temp_path {folder}/p;
  fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  server {{
    listen 127.0.0.1:{listen} http2;
    location / {{ {setting} grpc_pass grpc://127.0.0.1:{port}; }}
  }}
}}
"""


class Echo(grpc.GenericRpcHandler):
    def service(self, details):
        return grpc.stream_stream_rpc_method_handler(self.answer)

    async def answer(self, messages, context):
        async for message in messages:
            yield message[:1]


async def answered(address):
    """How many of 20 messages of 100 kB are answered, and the status."""
    async with grpc.aio.insecure_channel(address) as channel:
        call = channel.stream_stream("/echo/Echo")(wait_for_ready=True, timeout=30)
        count = 0
        try:
            for _ in range(20):
                await call.write(bytes(100_000))
                if await call.read() is grpc.aio.EOF:
                    break
                count += 1
            await call.done_writing()
            await call.read()
            return count, await call.code()
        except grpc.aio.AioRpcError as error:
            return count, error.code()


async def main(folder, nginx):
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((Echo(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    found = []
    for listen, setting in ((port + 1, ""), (port + 2, "client_max_body_size 0;")):
        conf = f"{folder}/{listen}.conf"
        with open(conf, "w") as file:
            file.write(CONF.format(folder=folder, listen=listen, port=port, setting=setting))
        proxy = subprocess.Popen([nginx, "-c", conf])
        try:
            found.append(await answered(f"127.0.0.1:{listen}"))
        finally:
            proxy.terminate()
            proxy.wait()
        print(setting or "defaults:", *found[-1])
    await server.stop(None)
    assert found == [(10, grpc.StatusCode.INTERNAL), (20, grpc.StatusCode.OK)], found


asyncio.run(main(*sys.argv[1:]))
PYTHON
venv/bin/python client.py "$folder" "$nginx"
