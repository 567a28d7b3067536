"""A unary-only model, as most stock runtimes are: a tensor in, three numbers out."""

import numpy as np
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


class TensorSum(MLModel):
    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        x = NumpyCodec.decode_input(payload.inputs[0])
        stats = np.array([x.sum(), x.min(), x.max()], np.float32)
        return InferenceResponse(
            model_name=self.name, outputs=[NumpyCodec.encode_output("stats", stats)]
        )
