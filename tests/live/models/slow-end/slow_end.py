"""A model that waits between its last response and its end."""

import asyncio
from collections.abc import AsyncIterator

from mlserver import MLModel
from mlserver.codecs import StringCodec
from mlserver.types import InferenceRequest, InferenceResponse


class SlowEnd(MLModel):
    async def predict_stream(
        self, payloads: AsyncIterator[InferenceRequest]
    ) -> AsyncIterator[InferenceResponse]:
        async for _ in payloads:
            yield InferenceResponse(
                model_name=self.name, outputs=[StringCodec.encode_output("output", ["last"])]
            )
            await asyncio.sleep(0.2)
