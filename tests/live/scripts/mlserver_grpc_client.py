"""A stock MLServer user's gRPC streaming client: MLServer's own codecs, converters and stubs."""

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import Any

import grpc
from mlserver.codecs import StringCodec
from mlserver.grpc import converters
from mlserver.grpc import dataplane_pb2_grpc as dataplane
from mlserver.types import InferenceRequest


async def main(address: str, model: str) -> None:
    request = InferenceRequest(
        inputs=[StringCodec.encode_input("prompt", ["What is the capital of France?"])]
    )
    message = converters.ModelInferRequestConverter.from_types(
        request, model_name=model, model_version=None
    )

    async def requests() -> AsyncIterator[Any]:
        yield message

    async with grpc.aio.insecure_channel(address) as channel:
        stub = dataplane.GRPCInferenceServiceStub(channel)
        async for message_out in stub.ModelStreamInfer(requests()):
            response = converters.ModelInferResponseConverter.to_types(message_out)
            print(StringCodec.decode_output(response.outputs[0]))


asyncio.run(main(sys.argv[1], sys.argv[2]))
