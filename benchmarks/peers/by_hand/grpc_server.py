"""What one would write by hand for streams over gRPC: grpc.aio and MLServer's V2 messages.

`python grpc_server.py PORT`, in this project's environment: one handler a stream on a uvloop, each
request decoded, each response built and encoded; blocking work is done where it stands.
"""

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

import cv2
import grpc
import numpy as np
import uvloop
from mlserver.grpc import dataplane_pb2 as pb
from mlserver.grpc import dataplane_pb2_grpc as pb_grpc

QUALITY = 95
MAX_MESSAGE_BYTES = 64 * 1024 * 1024


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
                    words = prompt_of(request).split(" ")
                    for index, word in enumerate(words):
                        yield text_response(request, f" {word}" if index else word)
                case "ticker":
                    begun = time.perf_counter()
                    rate, count = prompt_of(request).split()
                    for index in range(int(count)):
                        due = begun + index / float(rate)
                        await asyncio.sleep(max(0, due - time.perf_counter()))
                        yield text_response(request, " token")
                case "jpeg":
                    yield recode(request)
                case "tensor":
                    yield ends(request)


def prompt_of(request: Any) -> str:
    return str(request.inputs[0].contents.bytes_contents[0].decode())


def response(request: Any, **fields: Any) -> Any:
    return pb.ModelInferResponse(model_name=request.model_name, id=request.id, **fields)


def text_response(request: Any, word: str) -> Any:
    output = pb.ModelInferResponse.InferOutputTensor(
        name="output",
        datatype="BYTES",
        shape=[1],
        parameters={"content_type": pb.InferParameter(string_param="str")},
        contents=pb.InferTensorContents(bytes_contents=[word.encode()]),
    )
    return response(request, outputs=[output])


def recode(request: Any) -> Any:
    jpeg = np.frombuffer(request.raw_input_contents[0], np.uint8, offset=4)
    image: Any = cv2.imdecode(jpeg, cv2.IMREAD_COLOR)
    coded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()
    output = pb.ModelInferResponse.InferOutputTensor(
        name="output_image", datatype="BYTES", shape=[1]
    )
    raw = len(coded).to_bytes(4, "little") + coded
    return response(request, outputs=[output], raw_output_contents=[raw])


def ends(request: Any) -> Any:
    elements = np.frombuffer(request.raw_input_contents[0], np.float32)
    output = pb.ModelInferResponse.InferOutputTensor(name="ends", datatype="FP32", shape=[3])
    raw = elements[[0, elements.size // 2, -1]].tobytes()
    return response(request, outputs=[output], raw_output_contents=[raw])


async def serve(port: int) -> None:
    server = grpc.aio.server(
        options=[
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ]
    )
    pb_grpc.add_GRPCInferenceServiceServicer_to_server(Service(), server)
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    cv2.setNumThreads(1)
    uvloop.run(serve(int(sys.argv[1])))
