"""A model for stock MLServer that counts requests by their `sequence_id`, in a table of its own."""

from collections import Counter
from typing import Any

from mlserver import MLModel
from mlserver.types import InferenceRequest, InferenceResponse, ResponseOutput


class StockTally(MLModel):
    async def load(self) -> bool:
        self.tally: Counter[Any] = Counter()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        id = payload.parameters.sequence_id
        self.tally[id] += 1
        output = ResponseOutput(name="tally", shape=[1], datatype="INT64", data=[self.tally[id]])
        return InferenceResponse(
            model_name=self.name, parameters={"sequence_id": id}, outputs=[output]
        )
