"""KServe's contender: `python server.py HTTP_PORT GRPC_PORT`.

Its gRPC server and its REST server have no setting for the address that they bind, so that the two
classes are told here to stay on the loopback; nothing else of KServe's is changed.
"""

import sys

import grpc.aio
import numpy as np
import uvicorn
import work
from kserve import InferOutput, InferResponse, Model, ModelServer
from kserve.logging import KSERVE_LOG_CONFIG

LOOPBACK = "127.0.0.1"


class One(Model):
    """A model with one input and one output, and nothing to load."""

    output, datatype, raw = "output", "BYTES", True

    def __init__(self):
        super().__init__(type(self).__name__.lower())
        self.ready = True

    async def predict(self, payload, headers=None, response_headers=None):
        found = self.answer(payload.inputs[0].as_numpy().reshape(-1))
        output = InferOutput(name=self.output, shape=list(found.shape), datatype=self.datatype)
        output.set_data_from_numpy(found, binary_data=self.raw)
        return InferResponse(payload.id or "", self.name, [output])


class Echo(One):
    raw = False

    def answer(self, array):
        return array


class Jpeg(One):
    output = "output_image"

    def answer(self, array):
        return np.array([work.recoded(array[0])], np.object_)


class Tensor(One):
    output, datatype = "ends", "FP32"

    def answer(self, array):
        return work.ends(array)


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
    for logger in KSERVE_LOG_CONFIG["loggers"].values():
        logger["level"] = "WARNING"
    http, grpc_port = map(int, sys.argv[1:3])
    ModelServer(
        http_port=http, grpc_port=grpc_port, access_log_format=None, enable_latency_logging=False
    ).start([Echo(), Jpeg(), Tensor()])
