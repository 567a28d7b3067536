"""All of Triton's models, on its Python backend; a model's name chooses what is done.

Those that stream, and `burn`, `jpeg` and `tensor`, are decoupled: they send what they answer.
"""

import asyncio
import time

import cv2
import numpy as np
import triton_python_backend_utils as pb_utils

QUALITY = 95
ROUNDS = 100_000


class TritonPythonModel:
    def initialize(self, args):
        cv2.setNumThreads(1)
        self.execute = getattr(self, args["model_name"])

    def echo(self, requests):
        return [pb_utils.InferenceResponse([tensor("output", prompt(each))]) for each in requests]

    def text(self, requests):
        for request in requests:
            sender = request.get_response_sender()
            for index, word in enumerate(prompt(request).decode().split(" ")):
                send(sender, tensor("output", (f" {word}" if index else word).encode()))
            end(sender)

    async def ticker(self, requests):
        """A coroutine lets the streams of one instance wait together."""
        await asyncio.gather(*map(self.ticks, requests))

    async def ticks(self, request):
        begun = time.perf_counter()
        sender = request.get_response_sender()
        rate, count = prompt(request).decode().split()
        for index in range(int(count)):
            await asyncio.sleep(max(0, begun + index / float(rate) - time.perf_counter()))
            send(sender, tensor("output", b" token"))
        end(sender)

    def burn(self, requests):
        for request in requests:
            total = 0
            for number in range(ROUNDS):
                total += number & 3
            answer(request, tensor("output", prompt(request)))

    def jpeg(self, requests):
        for request in requests:
            data = np.frombuffer(element(request, "image"), np.uint8)
            image = cv2.imdecode(data, cv2.IMREAD_COLOR)
            coded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()
            answer(request, tensor("output_image", coded))

    def tensor(self, requests):
        for request in requests:
            elements = pb_utils.get_input_tensor_by_name(request, "image").as_numpy().reshape(-1)
            answer(request, pb_utils.Tensor("ends", elements[[0, elements.size // 2, -1]]))


def element(request, name):
    return pb_utils.get_input_tensor_by_name(request, name).as_numpy()[0]


def prompt(request):
    return element(request, "prompt")


def tensor(name, data):
    return pb_utils.Tensor(name, np.array([data], np.object_))


def send(sender, output):
    sender.send(pb_utils.InferenceResponse([output]))


def end(sender):
    sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)


def answer(request, output):
    request.get_response_sender().send(
        pb_utils.InferenceResponse([output]), flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL
    )
