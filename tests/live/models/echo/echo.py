"""Gives each input back as an output: `x` as `y`, and any other under its own name.

With the parameter `gate` it makes a file GATE-met, and waits until there is a file GATE.
"""

import asyncio
import time
from pathlib import Path

from mlserver import MLModel
from mlserver.types import InferenceRequest, InferenceResponse, ResponseOutput


class Echo(MLModel):
    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        given = payload.parameters and payload.parameters.model_extra
        if given and (gate := given.get("gate")):
            await asyncio.to_thread(_wait, Path(gate))
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


def _wait(gate: Path) -> None:
    gate.with_name(f"{gate.name}-met").touch()
    while not gate.exists():
        time.sleep(0.01)
