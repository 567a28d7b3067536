"""A model that answers with the headers that came to it."""

import json

from mlserver import MLModel
from mlserver.codecs import StringCodec
from mlserver.types import InferenceRequest, InferenceResponse


class ShowsHeaders(MLModel):
    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        headers = getattr(payload.parameters, "headers", None)
        output = StringCodec.encode_output("headers", [json.dumps(headers)])
        return InferenceResponse(model_name=self.name, outputs=[output])
