"""Answers with what it was asked: all the work is the service's."""

from mlserver import MLModel
from mlserver.types import InferenceRequest, InferenceResponse, ResponseOutput


class Echo(MLModel):
    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        outputs = [
            ResponseOutput.model_construct(
                name=tensor.name, shape=tensor.shape, datatype=tensor.datatype, data=tensor.data
            )
            for tensor in payload.inputs
        ]
        return InferenceResponse(model_name=self.name, outputs=outputs)
