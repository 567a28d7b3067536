"""All of Triton's models, on its Python backend; a model's name chooses what is done.

All but `echo` are decoupled: they send what they answer.
"""

import asyncio

import numpy as np
import triton_python_backend_utils as pb_utils
import work


class TritonPythonModel:
    def initialize(self, args):
        self.execute = getattr(self, args["model_name"])

    def echo(self, requests):
        return [pb_utils.InferenceResponse([text(prompt(each))]) for each in requests]

    def text(self, requests):
        for request in requests:
            sender = request.get_response_sender()
            for word in work.words(prompt(request).decode()):
                sender.send(pb_utils.InferenceResponse([text(word.encode())]))
            end(sender)

    async def ticker(self, requests):
        """A coroutine lets the streams of one instance wait together."""
        await asyncio.gather(*map(self.ticks, requests))

    async def ticks(self, request):
        sender = request.get_response_sender()
        async for word in work.ticks(prompt(request).decode()):
            sender.send(pb_utils.InferenceResponse([text(word.encode())]))
        end(sender)

    def jpeg(self, requests):
        for request in requests:
            coded = work.recoded(array(request, "image")[0])
            end(request.get_response_sender(), text(coded, "output_image"))

    def tensor(self, requests):
        for request in requests:
            ends = pb_utils.Tensor("ends", work.ends(array(request, "image")))
            end(request.get_response_sender(), ends)


def array(request, name):
    return pb_utils.get_input_tensor_by_name(request, name).as_numpy()


def prompt(request):
    return array(request, "prompt")[0]


def text(data, name="output"):
    return pb_utils.Tensor(name, np.array([data], np.object_))


def end(sender, *last):
    final = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL
    if last:
        sender.send(pb_utils.InferenceResponse(list(last)), flags=final)
    else:
        sender.send(flags=final)
