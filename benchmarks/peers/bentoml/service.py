"""BentoML's contender: `bentoml serve service:Bench`.

As its documentation advises: async generators for streams; a positional-only bytes parameter takes
the body as it is; blocking work in plain methods, which run in threads; workers by the environment.
"""

import os
from collections.abc import AsyncGenerator

import bentoml
import numpy as np
import work


@bentoml.service(
    workers=int(os.environ["BENCH_WORKERS"]),
    traffic={"timeout": 600},
    logging={"access": {"enabled": False}},
)
class Bench:
    @bentoml.api
    async def echo(self, prompt: str) -> str:
        return prompt

    @bentoml.api
    async def text(self, prompt: str) -> AsyncGenerator[str, None]:
        for word in work.words(prompt):
            yield work.event(word)

    @bentoml.api
    async def ticker(self, prompt: str) -> AsyncGenerator[str, None]:
        async for word in work.ticks(prompt):
            yield work.event(word)

    @bentoml.api
    def jpeg(self, image: bytes, /) -> bytes:
        return work.recoded(image)

    @bentoml.api
    def tensor(self, image: bytes, /) -> bytes:
        return work.ends(np.frombuffer(image, np.float32)).tobytes()
