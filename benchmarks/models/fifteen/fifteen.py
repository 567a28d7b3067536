"""A detector of fifteen frames a second, one after another, that finds the same each time."""

import asyncio
from collections.abc import AsyncIterator

from mlserver import MLModel
from mlserver.types import Datatype, InferenceRequest, InferenceResponse, ResponseOutput, TensorData

FPS = 15


class Fifteen(MLModel):
    async def predict_stream(
        self, payloads: AsyncIterator[InferenceRequest]
    ) -> AsyncIterator[InferenceResponse]:
        async for request in payloads:
            await asyncio.sleep(1 / FPS)
            yield InferenceResponse(
                model_name=self.settings.name,
                id=request.id,
                outputs=[
                    output("boxes", Datatype.FP32, [1, 4], [10.0, 10.0, 90.0, 60.0]),
                    output("scores", Datatype.FP32, [1], [0.9]),
                    output("classes", Datatype.INT32, [1], [0]),
                ],
            )


def output(name: str, datatype: Datatype, shape: list[int], data: list[float]) -> ResponseOutput:
    return ResponseOutput(name=name, datatype=datatype, shape=shape, data=TensorData(data))
