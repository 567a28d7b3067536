"""A text model as MLServer's streaming example builds it, with no delay; unary, its text again."""

from collections.abc import AsyncIterator

from mlserver import MLModel
from mlserver.codecs import StringCodec
from mlserver.types import InferenceRequest, InferenceResponse


class StockTextModel(MLModel):
    """Streams a word a response, every word but the first with the space before it."""

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        text = StringCodec.decode_input(payload.inputs[0])
        return InferenceResponse(
            model_name=self.name,
            model_version=self.version,
            outputs=[StringCodec.encode_output("output", text)],
        )

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
