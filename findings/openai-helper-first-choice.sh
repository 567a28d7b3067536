#!/usr/bin/env bash
# openai-python 3.57.0: the helper `chat.completions.stream` where `n` is 2 and the second choice's
# first chunk comes before the first choice's, as happens where both are generated side by side.
#
# Expected: choices are told apart by their `index`, in whatever order their chunks come; plain
# `create(stream=True)` gives them so.
# Seen: the helper ends with an IndexError; with the first choice's chunk first, all is well.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet openai==3.57.0 httpx2
venv/bin/python - <<'PYTHON'
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import openai

order = []


def chunk(index, delta, finish=None):
    choice = {"index": index, "delta": delta, "finish_reason": finish}
    whole = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return b"data: %b\n\n" % json.dumps({**whole, "choices": [choice]}).encode()


class Server(BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        for index in order:
            self.wfile.write(chunk(index, {"role": "assistant", "content": f"choice {index}"}))
        for index in order:
            self.wfile.write(chunk(index, {}, "stop"))
        self.wfile.write(b"data: [DONE]\n\n")

    def log_message(self, *arguments):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()
address = f"http://127.0.0.1:{server.server_port}/v1"
client = openai.OpenAI(base_url=address, api_key="none", max_retries=0)
asked = {"model": "m", "n": 2, "messages": [{"role": "user", "content": "?"}]}


def plain():
    chunks = client.chat.completions.create(stream=True, **asked)
    return [chunk.choices[0].delta.content for chunk in chunks if chunk.choices[0].delta.content]


def helped():
    try:
        with client.chat.completions.stream(**asked) as stream:
            return [each.message.content for each in stream.get_final_completion().choices]
    except Exception as error:
        return type(error).__name__


order[:] = [0, 1]
in_order = plain(), helped()
order[:] = [1, 0]
other_way = plain(), helped()
print("0 first:", in_order, "1 first:", other_way)
assert in_order == (["choice 0", "choice 1"], ["choice 0", "choice 1"])
assert other_way == (["choice 1", "choice 0"], "IndexError")
PYTHON
