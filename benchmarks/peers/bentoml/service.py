"""BentoML's contender: `bentoml serve service:Bench`.

As its documentation advises: async generators for streams; a positional-only bytes parameter takes
the body as it is; blocking work in plain methods, which run in threads; workers by the environment.
"""

import asyncio
import json
import os
import time
from collections.abc import AsyncGenerator

import bentoml
import cv2
import numpy as np

QUALITY = 95
WORKERS = int(os.environ["BENCH_WORKERS"])


def event(word: str) -> str:
    return "data: " + json.dumps({"output": word}, separators=(",", ":")) + "\n\n"


@bentoml.service(
    workers=WORKERS,
    traffic={"timeout": 600},
    logging={"access": {"enabled": False}},
)
class Bench:
    def __init__(self) -> None:
        cv2.setNumThreads(1)

    @bentoml.api
    async def text(self, prompt: str) -> AsyncGenerator[str, None]:
        for index, word in enumerate(prompt.split(" ")):
            yield event(f" {word}" if index else word)

    @bentoml.api
    async def ticker(self, prompt: str) -> AsyncGenerator[str, None]:
        begun = time.perf_counter()
        rate, count = prompt.split()
        for index in range(int(count)):
            await asyncio.sleep(max(0, begun + index / float(rate) - time.perf_counter()))
            yield event(" token")

    @bentoml.api
    def jpeg(self, image: bytes, /) -> bytes:
        pixels = cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_COLOR)
        return cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()

    @bentoml.api
    def tensor(self, image: bytes, /) -> bytes:
        elements = np.frombuffer(image, np.float32)
        return elements[[0, elements.size // 2, -1]].tobytes()

    @bentoml.api
    async def echo(self, prompt: str) -> str:
        return prompt
