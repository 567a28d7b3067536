"""Responses of models, as the routes read them."""

from mlserver.types import InferenceResponse, Parameters, ResponseOutput


def response(*texts, name="text_output", **said):
    shape, data = [len(texts)], list(texts)
    output = ResponseOutput(name=name, datatype="BYTES", shape=shape, data=data)
    return InferenceResponse(model_name="m", outputs=[output], parameters=Parameters(**said))


def numbers():
    output = ResponseOutput(name="boxes", datatype="FP32", shape=[1], data=[1.0])
    return InferenceResponse(model_name="m", outputs=[output])
