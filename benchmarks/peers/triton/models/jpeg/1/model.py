"""JPEG bytes in, the frame decoded and encoded again at quality 95, out."""

import cv2
import numpy as np
import triton_python_backend_utils as pb_utils

QUALITY = 95


class TritonPythonModel:
    """One response a frame."""

    def initialize(self, args):
        cv2.setNumThreads(1)

    def execute(self, requests):
        for request in requests:
            sender = request.get_response_sender()
            data = pb_utils.get_input_tensor_by_name(request, "image").as_numpy()[0]
            image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
            coded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()
            output = pb_utils.Tensor("output_image", np.array([coded], np.object_))
            sender.send(
                pb_utils.InferenceResponse([output]),
                flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL,
            )
