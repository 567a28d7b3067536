"""Frames on stock MLServer: raw JPEG bytes on a stream, or, as Triton's video tutorials have it,
base64 text in one unary call a frame."""

import base64
from collections.abc import AsyncIterator

import cv2
import numpy as np
from mlserver import MLModel
from mlserver.types import Datatype, InferenceRequest, InferenceResponse, ResponseOutput, TensorData

QUALITY = 95


class StockJpegModel(MLModel):
    """Decodes a frame and encodes it again at quality 95."""

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        coded = recode(base64.b64decode(payload.inputs[0].data.root[0]))
        return self._response(base64.b64encode(coded))

    async def predict_stream(
        self, payloads: AsyncIterator[InferenceRequest]
    ) -> AsyncIterator[InferenceResponse]:
        async for request in payloads:
            yield self._response(recode(request.inputs[0].data.root[0]))

    def _response(self, data: bytes) -> InferenceResponse:
        return InferenceResponse(
            model_name=self.name,
            outputs=[
                ResponseOutput(
                    name="output_image",
                    datatype=Datatype.BYTES,
                    shape=[1],
                    data=TensorData([data]),
                )
            ],
        )


def recode(jpeg: bytes) -> bytes:
    image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError("not a JPEG")
    _, coded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return coded.tobytes()
