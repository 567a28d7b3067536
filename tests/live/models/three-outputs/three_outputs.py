"""A plain model that does not look at the outputs that a request names."""

import numpy as np
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


class ThreeOutputs(MLModel):
    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        outputs = [
            NumpyCodec.encode_output(name, np.array([value], np.int32))
            for value, name in enumerate("abc", 1)
        ]
        return InferenceResponse(model_name=self.name, outputs=outputs)
