"""What one would write by hand for text over SSE: Starlette, a generator, a V2 response an event.

`python sse_server.py PORT`, in this project's environment: uvicorn with uvloop and httptools, no
access log, as uvicorn's deployment page has it. Events are as long as this project's.
"""

import sys
from collections.abc import AsyncIterator
from typing import Any

import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from benchmarks.peers import work


def event(model: str, word: str) -> bytes:
    output: dict[str, Any] = {"name": "output", "shape": [1], "datatype": "BYTES"}
    output |= {"parameters": {"content_type": "str"}, "data": [word]}
    response = {"model_name": model, "id": "0b5c5d3e-6d0a-4a0e-9a53-7f3a9c5d1e2f"}
    return b"data: " + orjson.dumps({**response, "outputs": [output]}) + b"\n\n"


async def words(model: str, prompt: str) -> AsyncIterator[bytes]:
    for word in work.words(prompt):
        yield event(model, word)


async def ticks(model: str, prompt: str) -> AsyncIterator[bytes]:
    async for word in work.ticks(prompt):
        yield event(model, word)


async def generate_stream(request: Request) -> Response:
    model = request.path_params["model"]
    prompt = orjson.loads(await request.body())["inputs"][0]["data"][0]
    events = ticks(model, prompt) if model == "ticker" else words(model, prompt)
    return StreamingResponse(events, media_type="text/event-stream")


path = "/v2/models/{model}/generate_stream"
app = Starlette(routes=[Route(path, generate_stream, methods=["POST"])])

if __name__ == "__main__":
    port = int(sys.argv[1])
    fast: dict[str, Any] = {"loop": "uvloop", "http": "httptools", "access_log": False}
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning", **fast)
