"""What one would write by hand for streams over gRPC: grpc.aio and MLServer's V2 messages.

`python grpc_server.py PORT`, in this project's environment: one handler a stream on a uvloop, each
request decoded, each response built and encoded; blocking work is done where it stands.
"""

import sys
from collections.abc import AsyncIterator
from typing import Any

import grpc
import numpy as np
import uvloop
from mlserver.grpc import dataplane_pb2 as pb
from mlserver.grpc import dataplane_pb2_grpc as pb_grpc

from benchmarks.contenders.contenders import MAX_MESSAGE_BYTES
from benchmarks.peers import work


class Service(pb_grpc.GRPCInferenceServiceServicer):
    """The model's name chooses what is done."""

    async def ModelInfer(self, request: Any, context: Any) -> Any:
        return text_response(request, prompt_of(request))

    async def ModelStreamInfer(
        self, requests: AsyncIterator[Any], context: Any
    ) -> AsyncIterator[Any]:
        async for request in requests:
            match request.model_name:
                case "text":
                    for word in work.words(prompt_of(request)):
                        yield text_response(request, word)
                case "ticker":
                    async for word in work.ticks(prompt_of(request)):
                        yield text_response(request, word)
                case "jpeg":
                    coded = work.recoded(request.raw_input_contents[0][4:])
                    raw = len(coded).to_bytes(4, "little") + coded
                    yield raw_response(request, "output_image", "BYTES", 1, raw)
                case "tensor":
                    elements = np.frombuffer(request.raw_input_contents[0], np.float32)
                    yield raw_response(request, "ends", "FP32", 3, work.ends(elements).tobytes())


def prompt_of(request: Any) -> str:
    return str(request.inputs[0].contents.bytes_contents[0].decode())


def text_response(request: Any, word: str) -> Any:
    output = pb.ModelInferResponse.InferOutputTensor(
        name="output",
        datatype="BYTES",
        shape=[1],
        parameters={"content_type": pb.InferParameter(string_param="str")},
        contents=pb.InferTensorContents(bytes_contents=[word.encode()]),
    )
    return pb.ModelInferResponse(model_name=request.model_name, id=request.id, outputs=[output])


def raw_response(request: Any, name: str, datatype: str, size: int, raw: bytes) -> Any:
    output = pb.ModelInferResponse.InferOutputTensor(name=name, datatype=datatype, shape=[size])
    return pb.ModelInferResponse(
        model_name=request.model_name, id=request.id, outputs=[output], raw_output_contents=[raw]
    )


async def serve(port: int) -> None:
    sizes = [f"grpc.max_{way}_message_length" for way in ("receive", "send")]
    server = grpc.aio.server(options=[(size, MAX_MESSAGE_BYTES) for size in sizes])
    pb_grpc.add_GRPCInferenceServiceServicer_to_server(Service(), server)
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
