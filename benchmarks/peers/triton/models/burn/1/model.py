"""Pure Python work that blocks its process: a prompt in, the same prompt out."""

import numpy as np
import triton_python_backend_utils as pb_utils

ROUNDS = 100_000


class TritonPythonModel:
    """One response a request."""

    def execute(self, requests):
        for request in requests:
            sender = request.get_response_sender()
            prompt = pb_utils.get_input_tensor_by_name(request, "prompt").as_numpy()[0]
            total = 0
            for number in range(ROUNDS):
                total += number & 3
            output = pb_utils.Tensor("output", np.array([prompt], np.object_))
            sender.send(
                pb_utils.InferenceResponse([output]),
                flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL,
            )
