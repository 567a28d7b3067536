"""Run in the container: GET the path, or stream the prompt behind `stream:`; print as it comes."""

import json
import sys
import urllib.error
import urllib.request

path, *given = sys.argv[1:]
headers = dict(header.split(": ", 1) for header in given)
body = None
if path.startswith("stream:"):
    prompt = {"text_input": path.removeprefix("stream:"), "parameters": {"delay": 0.3}}
    path, body = "/v2/models/text-model/generate_stream", json.dumps(prompt).encode()
    headers["Content-Type"] = "application/json"
request = urllib.request.Request(f"http://127.0.0.1:8080{path}", body, headers)
try:
    answer = urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60)
except urllib.error.HTTPError as error:
    answer = error
print(answer.status, flush=True)
for line in answer:
    print(line.decode(), end="", flush=True)
