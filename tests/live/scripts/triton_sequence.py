"""A Triton user's video client: unary calls with sequence flags, base64 JPEGs in a BYTES tensor.

The calls are those of Triton's sample for the Python backend. Prints JSON.
"""

import base64
import json
import sys
import uuid
from typing import Any

import cv2
import numpy as np
import tritonclient.grpc as triton
from tritonclient.utils import np_to_triton_dtype


class Stream:
    """A sequence, opened and closed by the context manager; call it with a frame."""

    def __init__(self, address: str, sequence_id: int):
        self._client = triton.InferenceServerClient(url=address)
        self._id = sequence_id

    def _infer(self, value: Any, outputs: list[Any], **flags: bool) -> triton.InferResult:
        array = np.array([value], dtype="object")
        tensor = triton.InferInput("image", array.shape, np_to_triton_dtype(array.dtype))
        tensor.set_data_from_numpy(array)
        return self._client.infer(
            model_name="jpeg-model",
            inputs=[tensor],
            request_id=str(uuid.uuid4()),
            outputs=outputs,
            sequence_id=self._id,
            **flags,
        )

    def __enter__(self) -> "Stream":
        self._infer(1, [], sequence_start=True, sequence_end=False)
        return self

    def __exit__(self, *exception: object) -> None:
        self._infer(1, [], sequence_start=False, sequence_end=True)

    def __call__(self, frame: np.ndarray) -> np.ndarray:
        text = base64.b64encode(cv2.imencode(".jpg", frame)[1]).decode()
        result = self._infer(text, [triton.InferRequestedOutput("output_image")])
        answer = base64.b64decode(result.as_numpy("output_image")[0])
        return cv2.imdecode(np.frombuffer(answer, np.uint8), cv2.IMREAD_COLOR)


frames = [np.full((48, 64, 3), shade, np.uint8) for shade in (20, 120, 220)]
with Stream(sys.argv[1], int(sys.argv[2])) as stream:
    answers = [stream(frame) for frame in frames]
print(json.dumps([[list(answer.shape), round(float(answer.mean()))] for answer in answers]))
