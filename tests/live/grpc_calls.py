"""gRPC requests and calls for the live tests, with MLServer's stubs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from typing import Any

import grpc
from mlserver.grpc import dataplane_pb2 as pb

from mlserver_streaming.rpc.parameters import encode_parameters
from mlserver_streaming.rpc.triton.messages import ModelStreamInferResponse

Tls = grpc.ChannelCredentials | None

SERVICE = "/inference.GRPCInferenceService/"


def text_request(
    prompt: bytes | str, model: str = "text-model", request_id: str = "", **parameters: Any
) -> pb.ModelInferRequest:
    """A prompt as a raw BYTES tensor; without a pause between words unless `delay` says so."""
    data = prompt.encode() if isinstance(prompt, str) else prompt
    return raw_request(model, "prompt", [data], request_id, **{"delay": 0, **parameters})


def jpeg_request(*images: bytes, request_id: str = "", **parameters: Any) -> pb.ModelInferRequest:
    return raw_request("jpeg-model", "image", list(images), request_id, **parameters)


def raw_request(
    model: str, name: str, elements: list[bytes], request_id: str = "", **parameters: Any
) -> pb.ModelInferRequest:
    request = pb.ModelInferRequest(model_name=model, id=request_id)
    request.inputs.add(name=name, datatype="BYTES", shape=[len(elements)])
    request.raw_input_contents.append(
        b"".join(len(element).to_bytes(4, "little") + element for element in elements)
    )
    set_parameters(request, **parameters)
    return request


def set_parameters(request: pb.ModelInferRequest, **parameters: Any) -> pb.ModelInferRequest:
    from mlserver.types import Parameters

    encode_parameters(request.parameters, Parameters(**parameters))
    return request


async def infer(
    address: str, request: pb.ModelInferRequest | bytes, tls: Tls = None, **call: Any
) -> pb.ModelInferResponse:
    async with channel(address, tls) as connection:
        method = connection.unary_unary(SERVICE + "ModelInfer")
        return pb.ModelInferResponse.FromString(await method(_serialised(request), **call))


async def stream(
    address: str, requests: Iterable[pb.ModelInferRequest | bytes], tls: Tls = None, **call: Any
) -> list[pb.ModelInferResponse]:
    """All responses of one ModelStreamInfer call."""
    async with channel(address, tls) as connection:
        method = connection.stream_stream(SERVICE + "ModelStreamInfer")
        replies = method(_each(requests), **call)
        return [pb.ModelInferResponse.FromString(reply) async for reply in replies]


async def triton_stream(
    address: str, requests: Iterable[pb.ModelInferRequest | bytes], tls: Tls = None, **call: Any
) -> list[tuple[str, pb.ModelInferResponse]]:
    """All replies of one call in Triton's dialect: error message and response."""
    async with channel(address, tls) as connection:
        method = connection.stream_stream(SERVICE + "ModelStreamInfer")
        found = []
        async for reply in method(_each(requests), **call):
            message = ModelStreamInferResponse.FromString(reply)
            response = pb.ModelInferResponse.FromString(message.infer_response)
            found.append((message.error_message, response))
        return found


def channel(address: str, tls: Tls = None) -> grpc.aio.Channel:
    options = [("grpc.max_receive_message_length", -1)]
    if tls is None:
        return grpc.aio.insecure_channel(address, options=options)
    # A connection of its own, whatever other channels there are.
    options.append(("grpc.use_local_subchannel_pool", 1))
    return grpc.aio.secure_channel(address, tls, options=options)


def words(responses: Iterable[pb.ModelInferResponse]) -> list[str]:
    """The words in raw BYTES [1] responses."""
    return [response.raw_output_contents[0][4:].decode() for response in responses]


def error_of(response: pb.ModelInferResponse) -> tuple[int, str] | None:
    """Status and text of a response that fails its request."""
    if "error" not in response.parameters:
        return None
    assert not response.outputs
    return (
        response.parameters["error_code"].int64_param,
        response.parameters["error"].string_param,
    )


def _serialised(request: pb.ModelInferRequest | bytes) -> bytes:
    return request if isinstance(request, bytes) else request.SerializeToString()


async def _each(requests: Iterable[pb.ModelInferRequest | bytes]) -> AsyncIterator[bytes]:
    for request in requests:
        yield _serialised(request)
