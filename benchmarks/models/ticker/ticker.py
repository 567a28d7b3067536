"""Tokens on time: "RATE COUNT" in, COUNT tokens out, RATE of them a second by the clock.

By the clock, not by sleeps of the same length: what a server adds to one token must not make all
later ones late.
"""

import asyncio
import time
from collections.abc import AsyncIterator

from mlserver import MLModel
from mlserver.codecs import StringCodec
from mlserver.types import InferenceRequest, InferenceResponse


class Ticker(MLModel):
    """One token a response."""

    async def predict_stream(
        self, payloads: AsyncIterator[InferenceRequest]
    ) -> AsyncIterator[InferenceResponse]:
        async for request in payloads:
            begun = time.perf_counter()
            rate, count = StringCodec.decode_input(request.inputs[0])[0].split()
            for index in range(int(count)):
                await asyncio.sleep(max(0, begun + index / float(rate) - time.perf_counter()))
                yield InferenceResponse(
                    model_name=self.settings.name,
                    outputs=[
                        StringCodec.encode_output(name="output", payload=[" token"], use_bytes=True)
                    ],
                )
