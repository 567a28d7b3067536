"""Pure Python work that blocks its process: a prompt in, the same prompt out."""

from collections.abc import AsyncIterator

from mlserver import MLModel
from mlserver.codecs import StringCodec
from mlserver.types import InferenceRequest, InferenceResponse

# Some 5 ms; the peers' models have the same loop.
ROUNDS = 100_000


class Burn(MLModel):
    """One response a request, unary and streamed."""

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        total = 0
        for number in range(ROUNDS):
            total += number & 3
        prompt = StringCodec.decode_input(payload.inputs[0])
        return InferenceResponse(
            model_name=self.settings.name,
            outputs=[StringCodec.encode_output(name="output", payload=prompt, use_bytes=True)],
        )

    async def predict_stream(
        self, payloads: AsyncIterator[InferenceRequest]
    ) -> AsyncIterator[InferenceResponse]:
        async for request in payloads:
            yield await self.predict(request)
