"""KServe's contender: `python server.py HTTP_PORT GRPC_PORT`.

Its gRPC server and its REST server have no setting for the address that they bind, so that the two
classes are told here to stay on the loopback; nothing else of KServe's is changed.
"""

import sys

import cv2
import grpc.aio
import numpy as np
import uvicorn
from kserve import InferOutput, InferResponse, Model, ModelServer
from kserve.logging import KSERVE_LOG_CONFIG

QUALITY = 95
LOOPBACK = "127.0.0.1"


class Ready(Model):
    """A model that has nothing to load; its class's name is its own."""

    def __init__(self):
        super().__init__(type(self).__name__.lower())
        self.ready = True


class Echo(Ready):
    """A prompt in, the same prompt out."""

    async def predict(self, payload, headers=None, response_headers=None):
        output = InferOutput(name="output", shape=[1], datatype="BYTES")
        output.set_data_from_numpy(payload.inputs[0].as_numpy(), binary_data=False)
        return InferResponse(payload.id or "", self.name, [output])


class Jpeg(Ready):
    """A frame coded again."""

    async def predict(self, payload, headers=None, response_headers=None):
        data = payload.inputs[0].as_numpy().reshape(-1)[0]
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        coded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()
        output = InferOutput(name="output_image", shape=[1], datatype="BYTES")
        output.set_data_from_numpy(np.array([coded], np.object_), binary_data=True)
        return InferResponse(payload.id or "", self.name, [output])


class Tensor(Ready):
    """A tensor's first, middle and last element."""

    async def predict(self, payload, headers=None, response_headers=None):
        elements = payload.inputs[0].as_numpy().reshape(-1)
        output = InferOutput(name="ends", shape=[3], datatype="FP32")
        output.set_data_from_numpy(elements[[0, elements.size // 2, -1]], binary_data=True)
        return InferResponse(payload.id or "", self.name, [output])


def stay_on_the_loopback() -> None:
    server = grpc.aio._server.Server
    configure, add_port = uvicorn.Config.__init__, server.add_insecure_port

    def configured(self, app, *, host, **settings):
        configure(self, app, host=LOOPBACK, **settings)

    uvicorn.Config.__init__ = configured
    server.add_insecure_port = lambda self, address: add_port(
        self, address.replace("[::]", LOOPBACK)
    )


if __name__ == "__main__":
    stay_on_the_loopback()
    cv2.setNumThreads(1)
    for logger in KSERVE_LOG_CONFIG["loggers"].values():
        logger["level"] = "WARNING"
    http, grpc_port = map(int, sys.argv[1:3])
    ModelServer(
        http_port=http, grpc_port=grpc_port, access_log_format=None, enable_latency_logging=False
    ).start([Echo(), Jpeg(), Tensor()])
