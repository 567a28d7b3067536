"""Written for stock MLServer, as its streaming example is: it knows nothing of this project."""

import asyncio
from collections.abc import AsyncIterator

from mlserver import MLModel
from mlserver.codecs import StringCodec
from mlserver.types import InferenceRequest, InferenceResponse


class TextModel(MLModel):
    async def predict_stream(
        self, payloads: AsyncIterator[InferenceRequest]
    ) -> AsyncIterator[InferenceResponse]:
        requests = [request async for request in payloads]
        text = StringCodec.decode_input(requests[0].inputs[0])[0]
        for index, word in enumerate(text.split(" ")):
            await asyncio.sleep(0.01)
            yield InferenceResponse(
                model_name=self.settings.name,
                outputs=[
                    StringCodec.encode_output(
                        name="output", payload=[word if index == 0 else f" {word}"]
                    )
                ],
            )
