"""The models that MLServer serves here, stock or with this project's seam: models/*/ name them.

Each peer has models that do the same work (peers/).
"""

from collections.abc import AsyncIterator

import numpy as np
from mlserver import MLModel
from mlserver.codecs import StringCodec
from mlserver.types import Datatype, InferenceRequest, InferenceResponse, ResponseOutput, TensorData

from benchmarks.peers import work

Requests = AsyncIterator[InferenceRequest]
Responses = AsyncIterator[InferenceResponse]


class StockText(MLModel):
    """Text as MLServer's streaming example builds it, with no delay; unary, its text again."""

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        text = StringCodec.decode_input(payload.inputs[0])
        return InferenceResponse(
            model_name=self.name,
            model_version=self.version,
            outputs=[StringCodec.encode_output("output", text)],
        )

    async def predict_stream(self, payloads: Requests) -> Responses:
        async for request in payloads:
            for word in work.words(prompt(request)):
                yield said(self, word)


class Ticker(MLModel):
    """Tokens on time: "RATE COUNT" in, COUNT tokens out, RATE of them a second."""

    async def predict_stream(self, payloads: Requests) -> Responses:
        async for request in payloads:
            async for token in work.ticks(prompt(request)):
                yield said(self, token)


class StockJpeg(MLModel):
    """Decodes a frame and encodes it again at quality 95."""

    async def predict_stream(self, payloads: Requests) -> Responses:
        async for request in payloads:
            coded = work.recoded(request.inputs[0].data.root[0])
            yield answer(self, output("output_image", Datatype.BYTES, [1], [coded]))


class TensorEnds(MLModel):
    """The first, the middle and the last element of a large tensor: what is measured is the way in.

    Under stock MLServer the data come as a list, here as a numpy view of the received bytes.
    """

    async def predict_stream(self, payloads: Requests) -> Responses:
        async for request in payloads:
            ends = work.ends(np.asarray(request.inputs[0].data.root, np.float32))
            yield answer(self, output("ends", Datatype.FP32, [3], ends.tolist()))


def prompt(request: InferenceRequest) -> str:
    return str(StringCodec.decode_input(request.inputs[0])[0])


def said(model: MLModel, text: str) -> InferenceResponse:
    return answer(model, StringCodec.encode_output("output", [text], use_bytes=True))


def answer(model: MLModel, *outputs: ResponseOutput) -> InferenceResponse:
    return InferenceResponse(model_name=model.settings.name, outputs=list(outputs))


def output(name: str, datatype: Datatype, shape: list[int], data: object) -> ResponseOutput:
    found = TensorData(data)
    return ResponseOutput.model_construct(name=name, shape=shape, datatype=datatype, data=found)
