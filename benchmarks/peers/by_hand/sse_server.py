"""What one would write by hand for text over SSE: Starlette, a generator, a V2 response an event.

`python sse_server.py PORT`, in this project's environment: uvicorn with uvloop and httptools, no
access log, as uvicorn's deployment page has it. Events are as long as this project's.
"""

import asyncio
import sys
import time
from collections.abc import AsyncIterator

import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route


def event(model: str, word: str) -> bytes:
    response = {
        "model_name": model,
        "id": "0b5c5d3e-6d0a-4a0e-9a53-7f3a9c5d1e2f",
        "outputs": [
            {
                "name": "output",
                "shape": [1],
                "datatype": "BYTES",
                "parameters": {"content_type": "str"},
                "data": [word],
            }
        ],
    }
    return b"data: " + orjson.dumps(response) + b"\n\n"


async def words(model: str, prompt: str) -> AsyncIterator[bytes]:
    for index, word in enumerate(prompt.split(" ")):
        yield event(model, f" {word}" if index else word)


async def ticks(model: str, prompt: str) -> AsyncIterator[bytes]:
    begun = time.perf_counter()
    rate, count = prompt.split()
    for index in range(int(count)):
        await asyncio.sleep(max(0, begun + index / float(rate) - time.perf_counter()))
        yield event(model, " token")


async def generate_stream(request: Request) -> Response:
    model = request.path_params["model"]
    prompt = orjson.loads(await request.body())["inputs"][0]["data"][0]
    events = ticks(model, prompt) if model == "ticker" else words(model, prompt)
    return StreamingResponse(events, media_type="text/event-stream")


async def ready(request: Request) -> Response:
    return Response()


app = Starlette(
    routes=[
        Route("/v2/health/ready", ready),
        Route("/v2/models/{model}/generate_stream", generate_stream, methods=["POST"]),
    ]
)

if __name__ == "__main__":
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=int(sys.argv[1]),
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="warning",
    )
