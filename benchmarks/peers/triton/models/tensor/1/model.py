"""A large tensor in, its first, middle and last element out."""

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """One response a tensor."""

    def execute(self, requests):
        for request in requests:
            sender = request.get_response_sender()
            elements = pb_utils.get_input_tensor_by_name(request, "image").as_numpy().reshape(-1)
            output = pb_utils.Tensor("ends", elements[[0, elements.size // 2, -1]])
            sender.send(
                pb_utils.InferenceResponse([output]),
                flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL,
            )
