"""Frames on stock MLServer: raw JPEG bytes on a stream."""

from collections.abc import AsyncIterator

import cv2
import numpy as np
from mlserver import MLModel
from mlserver.types import Datatype, InferenceRequest, InferenceResponse, ResponseOutput, TensorData

QUALITY = 95


class StockJpegModel(MLModel):
    """Decodes a frame and encodes it again at quality 95."""

    async def predict_stream(
        self, payloads: AsyncIterator[InferenceRequest]
    ) -> AsyncIterator[InferenceResponse]:
        async for request in payloads:
            output = ResponseOutput(
                name="output_image",
                datatype=Datatype.BYTES,
                shape=[1],
                data=TensorData([recode(request.inputs[0].data.root[0])]),
            )
            yield InferenceResponse(model_name=self.name, outputs=[output])


def recode(jpeg: bytes) -> bytes:
    image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError("not a JPEG")
    _, coded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return coded.tobytes()
