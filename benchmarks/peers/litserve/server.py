"""LitServe's contender: `python server.py PORT text|ticker|echo|jpeg|tensor WORKERS`.

As its documentation advises: fast_queue (ZeroMQ), text in async methods, streams as generators,
large inputs as multipart files; one HTTP server process a worker (its default).
"""

import sys

import litserve
import numpy as np
import work
from fastapi import Request, Response


class Text(litserve.LitAPI):
    """A prompt's words, one by one."""

    def setup(self, device):
        pass

    async def decode_request(self, request):
        return request["prompt"]

    async def predict(self, prompt):
        for word in work.words(prompt):
            yield word

    async def encode_response(self, words):
        async for word in words:
            yield work.event(word)


class Ticker(Text):
    """Tokens on time."""

    async def predict(self, prompt):
        async for word in work.ticks(prompt):
            yield word


class Echo(Text):
    """A prompt in, the same prompt out."""

    async def predict(self, prompt):
        return prompt

    async def encode_response(self, prompt):
        return {"output": prompt}


class Jpeg(litserve.LitAPI):
    """A frame coded again."""

    def setup(self, device):
        pass

    def decode_request(self, request: Request):
        return request["file"].file.read()

    def predict(self, data):
        return work.recoded(data)

    def encode_response(self, data):
        return Response(data, media_type="application/octet-stream")


class Tensor(Jpeg):
    """A tensor's first, middle and last element."""

    def predict(self, data):
        return work.ends(np.frombuffer(data, np.float32)).tobytes()


if __name__ == "__main__":
    port, name, workers = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    api = {"text": Text, "ticker": Ticker, "echo": Echo, "jpeg": Jpeg, "tensor": Tensor}[name]
    server = litserve.LitServer(
        api(stream=name in ("text", "ticker"), enable_async=issubclass(api, Text)),
        accelerator="cpu",
        workers_per_device=workers,
        fast_queue=True,
    )
    server.run(host="127.0.0.1", port=port, generate_client_file=False, log_level="warning")
