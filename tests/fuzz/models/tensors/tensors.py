"""A tensor in, its sum out; what is no tensor of numbers it refuses."""

import numpy as np
from mlserver import MLModel
from mlserver.errors import MLServerError
from mlserver.types import InferenceRequest, InferenceResponse, ResponseOutput


class Tensors(MLModel):
    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        if not payload.inputs:
            raise MLServerError("Send a tensor.", 400)
        if payload.inputs[0].datatype == "BYTES":
            raise MLServerError("Send numbers.", 400)
        # null is NaN in JSON.
        numbers = np.asarray(payload.inputs[0].data.root, np.float64)
        with np.errstate(all="ignore"):
            total = float(numbers.sum())
        output = ResponseOutput(name="sum", shape=[1], datatype="FP64", data=[total])
        return InferenceResponse(
            model_name=self.name, outputs=[output], parameters=payload.parameters
        )
