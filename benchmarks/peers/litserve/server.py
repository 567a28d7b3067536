"""LitServe's contender: `python server.py PORT text|ticker|echo|jpeg|tensor WORKERS`.

As its documentation advises: fast_queue (ZeroMQ), streams as async generators, large inputs as
multipart files; one HTTP server process a worker (its default).
"""

import asyncio
import json
import sys
import time

import cv2
import litserve
import numpy as np
from fastapi import Request, Response

QUALITY = 95


def event(word):
    return "data: " + json.dumps({"output": word}, separators=(",", ":")) + "\n\n"


class Text(litserve.LitAPI):
    """A prompt's words, one by one."""

    def setup(self, device):
        pass

    async def decode_request(self, request):
        return request["prompt"]

    async def predict(self, prompt):
        for index, word in enumerate(prompt.split(" ")):
            yield f" {word}" if index else word

    async def encode_response(self, words):
        async for word in words:
            yield event(word)


class Ticker(Text):
    """COUNT tokens, RATE a second by the clock."""

    async def predict(self, prompt):
        begun = time.perf_counter()
        rate, count = prompt.split()
        for index in range(int(count)):
            await asyncio.sleep(max(0, begun + index / float(rate) - time.perf_counter()))
            yield " token"


class Jpeg(litserve.LitAPI):
    """A frame coded again."""

    def setup(self, device):
        cv2.setNumThreads(1)

    def decode_request(self, request: Request):
        return request["file"].file.read()

    def predict(self, data):
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()

    def encode_response(self, coded):
        return Response(coded, media_type="image/jpeg")


class Tensor(Jpeg):
    """A tensor's first, middle and last element."""

    def predict(self, data):
        elements = np.frombuffer(data, np.float32)
        return elements[[0, elements.size // 2, -1]]

    def encode_response(self, ends):
        return Response(ends.tobytes(), media_type="application/octet-stream")


class Echo(Text):
    """A prompt in, the same prompt out."""

    async def predict(self, prompt):
        return prompt

    async def encode_response(self, prompt):
        return {"output": prompt}


if __name__ == "__main__":
    port, name, workers = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    streams = name in ("text", "ticker")
    api = {"text": Text, "ticker": Ticker, "echo": Echo, "jpeg": Jpeg, "tensor": Tensor}[name]
    server = litserve.LitServer(
        api(stream=streams, enable_async=streams or name == "echo"),
        accelerator="cpu",
        workers_per_device=workers,
        fast_queue=True,
    )
    server.run(host="127.0.0.1", port=port, generate_client_file=False, log_level="warning")
