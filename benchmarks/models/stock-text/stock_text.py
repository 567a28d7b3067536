"""The text model as MLServer's streaming example builds it, with no delay: for stock MLServer."""

from collections.abc import AsyncIterator

from mlserver import MLModel
from mlserver.codecs import StringCodec
from mlserver.types import InferenceRequest, InferenceResponse


class StockTextModel(MLModel):
    """One word a response, every word but the first with the space before it."""

    async def predict_stream(
        self, payloads: AsyncIterator[InferenceRequest]
    ) -> AsyncIterator[InferenceResponse]:
        async for request in payloads:
            text = StringCodec.decode_input(request.inputs[0])[0]
            for index, word in enumerate(text.split(" ")):
                yield InferenceResponse(
                    model_name=self.settings.name,
                    outputs=[
                        StringCodec.encode_output(
                            name="output",
                            payload=[f" {word}" if index else word],
                            use_bytes=True,
                        )
                    ],
                )
