"""Gives each input back as an output: `x` as `y`, and any other under its own name."""

from mlserver import MLModel
from mlserver.types import InferenceRequest, InferenceResponse, ResponseOutput


class Echo(MLModel):
    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        return InferenceResponse.model_construct(
            model_name=self.name,
            outputs=[
                ResponseOutput.model_construct(
                    name={"x": "y"}.get(each.name, each.name),
                    shape=each.shape,
                    datatype=each.datatype,
                    parameters=None,
                    data=each.data,
                )
                for each in payload.inputs
            ],
        )
