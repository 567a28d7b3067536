"""A stock model that answers at once, and whose settings name the tensors for OpenAI's routes."""

from mlserver import MLModel
from mlserver.codecs import StringCodec
from mlserver.types import InferenceRequest, InferenceResponse


class TwoTexts(MLModel):
    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        (tensor,) = payload.inputs
        (told,) = StringCodec.decode_input(tensor)
        return InferenceResponse(
            model_name=self.name,
            outputs=[
                StringCodec.encode_output("trace", ["not this"]),
                StringCodec.encode_output("answer", [f"{tensor.name}: {told}"]),
            ],
        )
