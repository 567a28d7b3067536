"""A large tensor in, three numbers out, next to no arithmetic: what is measured is the way in.

The same class under stock MLServer, where the data come as a list, and under this project, where
they are a numpy view of the received bytes.
"""

from collections.abc import AsyncIterator

import numpy as np
from mlserver import MLModel
from mlserver.types import Datatype, InferenceRequest, InferenceResponse, ResponseOutput, TensorData


class TensorEnds(MLModel):
    """The first, the middle and the last element of input `image`."""

    async def predict_stream(
        self, payloads: AsyncIterator[InferenceRequest]
    ) -> AsyncIterator[InferenceResponse]:
        async for request in payloads:
            elements = np.asarray(request.inputs[0].data.root, np.float32).reshape(-1)
            ends = elements[[0, elements.size // 2, -1]]
            yield InferenceResponse(
                model_name=self.settings.name,
                outputs=[
                    ResponseOutput(
                        name="ends",
                        datatype=Datatype.FP32,
                        shape=[3],
                        data=TensorData(ends.tolist()),
                    )
                ],
            )
