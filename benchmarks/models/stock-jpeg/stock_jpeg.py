"""Frames as base64 text in a BYTES tensor, one unary call a frame: the approach of Triton's
video tutorials, on stock MLServer."""

import base64

import cv2
import numpy as np
from mlserver import MLModel
from mlserver.types import Datatype, InferenceRequest, InferenceResponse, ResponseOutput, TensorData

QUALITY = 95


class StockJpegModel(MLModel):
    """Decodes a frame and encodes it again at quality 95."""

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        text = payload.inputs[0].data.root[0]
        image = cv2.imdecode(np.frombuffer(base64.b64decode(text), np.uint8), cv2.IMREAD_COLOR)
        if image is None:
            raise ValueError("not a JPEG")
        _, coded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
        return InferenceResponse(
            model_name=self.name,
            outputs=[
                ResponseOutput(
                    name="output_image",
                    datatype=Datatype.BYTES,
                    shape=[1],
                    data=TensorData([base64.b64encode(coded.tobytes())]),
                )
            ],
        )
