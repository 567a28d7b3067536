"""Tokens on time: "RATE COUNT" in, COUNT tokens out, RATE of them a second by the clock."""

import asyncio
import time

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """`async def execute` lets the streams of one instance wait together."""

    async def execute(self, requests):
        await asyncio.gather(*map(self.answer, requests))

    async def answer(self, request):
        begun = time.perf_counter()
        sender = request.get_response_sender()
        prompt = pb_utils.get_input_tensor_by_name(request, "prompt").as_numpy()[0].decode()
        rate, count = prompt.split()
        for index in range(int(count)):
            await asyncio.sleep(max(0, begun + index / float(rate) - time.perf_counter()))
            output = pb_utils.Tensor("output", np.array([b" token"], np.object_))
            sender.send(pb_utils.InferenceResponse([output]))
        sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
