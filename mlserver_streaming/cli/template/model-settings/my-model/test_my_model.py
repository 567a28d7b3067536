"""The model alone, without a service: `pytest` in the folder that is served."""

import asyncio
from pathlib import Path

from mlserver.settings import ModelSettings
from mlserver.types import InferenceRequest
from my_model import MyModel

SETTINGS = Path(__file__).with_name("model-settings.json")


async def answers(prompt):
    model = MyModel(ModelSettings.parse_file(str(SETTINGS)))
    await model.load()

    async def requests():
        tensor = {"name": "prompt", "datatype": "BYTES", "shape": [1], "data": [prompt]}
        yield InferenceRequest(id="1", inputs=[tensor])

    return [response async for response in model.predict_stream(requests())]


def test_each_word_is_a_response_in_capitals():
    responses = asyncio.run(answers("streams of words"))
    words = [response.outputs[0].data[0] for response in responses]
    assert words == ["STREAMS ", "OF ", "WORDS "]
    assert {response.id for response in responses} == {"1"}
