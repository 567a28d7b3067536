"""The models that MLServer serves here, stock or with this project's seam: models/*/ name them.

Each peer has models that do the same work (peers/).
"""

import asyncio
import time
from collections.abc import AsyncIterator

import cv2
import numpy as np
from mlserver import MLModel
from mlserver.codecs import StringCodec
from mlserver.types import Datatype, InferenceRequest, InferenceResponse, ResponseOutput, TensorData

Requests = AsyncIterator[InferenceRequest]
Responses = AsyncIterator[InferenceResponse]
QUALITY = 95
# Some 5 ms; Triton's model has the same loop.
ROUNDS = 100_000
FIFTEEN = 15


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
            text = StringCodec.decode_input(request.inputs[0])[0]
            for index, word in enumerate(text.split(" ")):
                yield said(self, f" {word}" if index else word)


class Ticker(MLModel):
    """Tokens on time: "RATE COUNT" in, COUNT tokens out, RATE of them a second.

    By the clock, not by sleeps of the same length: what a server adds to one token must not make
    all later ones late.
    """

    async def predict_stream(self, payloads: Requests) -> Responses:
        async for request in payloads:
            begun = time.perf_counter()
            rate, count = StringCodec.decode_input(request.inputs[0])[0].split()
            for index in range(int(count)):
                await asyncio.sleep(max(0, begun + index / float(rate) - time.perf_counter()))
                yield said(self, " token")


class Burn(MLModel):
    """Pure Python work that blocks its process: a prompt in, the same prompt out."""

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        total = 0
        for number in range(ROUNDS):
            total += number & 3
        return said(self, StringCodec.decode_input(payload.inputs[0])[0])

    async def predict_stream(self, payloads: Requests) -> Responses:
        async for request in payloads:
            yield await self.predict(request)


class StockJpeg(MLModel):
    """Decodes a frame and encodes it again at quality 95."""

    async def predict_stream(self, payloads: Requests) -> Responses:
        async for request in payloads:
            jpeg = np.frombuffer(request.inputs[0].data.root[0], np.uint8)
            image = cv2.imdecode(jpeg, cv2.IMREAD_COLOR)
            if image is None:
                raise ValueError("not a JPEG")
            coded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()
            yield answer(self, output("output_image", Datatype.BYTES, [1], [coded]))


class TensorEnds(MLModel):
    """The first, the middle and the last element of a large tensor: what is measured is the way in.

    Under stock MLServer the data come as a list, here as a numpy view of the received bytes.
    """

    async def predict_stream(self, payloads: Requests) -> Responses:
        async for request in payloads:
            elements = np.asarray(request.inputs[0].data.root, np.float32).reshape(-1)
            ends = elements[[0, elements.size // 2, -1]]
            yield answer(self, output("ends", Datatype.FP32, [3], ends.tolist()))


class Echo(MLModel):
    """Answers with what it was asked: all the work is the service's."""

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        return answer(
            self,
            *(output(each.name, each.datatype, each.shape, each.data) for each in payload.inputs),
        )


class Fifteen(MLModel):
    """A detector of fifteen frames a second, one after another, that finds the same each time."""

    async def predict_stream(self, payloads: Requests) -> Responses:
        async for request in payloads:
            await asyncio.sleep(1 / FIFTEEN)
            found = answer(
                self,
                output("boxes", Datatype.FP32, [1, 4], [10.0, 10.0, 90.0, 60.0]),
                output("scores", Datatype.FP32, [1], [0.9]),
                output("classes", Datatype.INT32, [1], [0]),
            )
            found.id = request.id
            yield found


def said(model: MLModel, text: str) -> InferenceResponse:
    return answer(model, StringCodec.encode_output("output", [text], use_bytes=True))


def answer(model: MLModel, *outputs: ResponseOutput) -> InferenceResponse:
    return InferenceResponse(model_name=model.settings.name, outputs=list(outputs))


def output(name: str, datatype: Datatype, shape: list[int], data: object) -> ResponseOutput:
    found = data if isinstance(data, TensorData) else TensorData(data)
    return ResponseOutput.model_construct(name=name, shape=shape, datatype=datatype, data=found)
