"""A prompt in, its words out one by one, without a delay."""

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """Every word but the first with the space before it."""

    def execute(self, requests):
        for request in requests:
            sender = request.get_response_sender()
            prompt = pb_utils.get_input_tensor_by_name(request, "prompt").as_numpy()[0].decode()
            for index, word in enumerate(prompt.split(" ")):
                text = f" {word}" if index else word
                output = pb_utils.Tensor("output", np.array([text.encode()], np.object_))
                sender.send(pb_utils.InferenceResponse([output]))
            sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
