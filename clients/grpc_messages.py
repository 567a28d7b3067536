"""The protocol's gRPC messages: requests from values, values from responses. No I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mlserver.grpc.dataplane_pb2 import InferParameter, ModelInferRequest, ModelInferResponse

from .bytes_tensors import pack, unpack
from .errors import ProtocolError

Parameter = bool | int | float | str


def raw_request(
    raw: bytes,
    *,
    datatype: str,
    shape: Sequence[int],
    model: str,
    request_id: str,
    tensor: str,
    parameters: Mapping[str, Parameter] | None = None,
) -> ModelInferRequest:
    """A request with one input tensor, its data in raw contents."""
    request = ModelInferRequest(
        model_name=model,
        id=request_id,
        inputs=[ModelInferRequest.InferInputTensor(name=tensor, datatype=datatype, shape=shape)],
        raw_input_contents=[raw],
    )
    for name, value in (parameters or {}).items():
        request.parameters[name].CopyFrom(_parameter(value))
    return request


def bytes_request(
    *elements: bytes,
    model: str,
    request_id: str,
    tensor: str,
    parameters: Mapping[str, Parameter] | None = None,
) -> ModelInferRequest:
    """A request with one input tensor, BYTES [number of elements], in raw contents."""
    return raw_request(
        pack(elements),
        datatype="BYTES",
        shape=[len(elements)],
        model=model,
        request_id=request_id,
        tensor=tensor,
        parameters=parameters,
    )


def bytes_output(response: ModelInferResponse, tensor: str) -> bytes:
    """The first element of the output `tensor`; raises ProtocolError when there is none."""
    return bytes_outputs(response, tensor)[0]


def bytes_outputs(response: ModelInferResponse, tensor: str) -> list[bytes]:
    """All elements of the output `tensor`; raises ProtocolError when there are none."""
    found: list[bytes] = []
    for index, output in enumerate(response.outputs):
        if output.name != tensor:
            continue
        if index < len(response.raw_output_contents):
            found = unpack(response.raw_output_contents[index], tensor)
        else:
            found = list(output.contents.bytes_contents)
        if found:
            return found
    names = ", ".join(repr(output.name) for output in response.outputs) or "none"
    raise ProtocolError(f"a response has no output '{tensor}' with data (outputs: {names})")


def response_error(response: ModelInferResponse) -> tuple[str, int | None] | None:
    """The text and the HTTP status number of a failed request; None when it did not fail."""
    # Looking a key up in a protobuf map would add it.
    if "error" not in response.parameters:
        return None
    text = response.parameters["error"].string_param
    if "error_code" not in response.parameters:
        return text, None
    return text, response.parameters["error_code"].int64_param


def text_parameter(response: ModelInferResponse, name: str) -> str:
    """A response's parameter; empty where it is not there or is no text."""
    # Looking a key up in a protobuf map would add it.
    return response.parameters[name].string_param if name in response.parameters else ""


def _parameter(value: Parameter) -> InferParameter:
    if isinstance(value, bool):
        return InferParameter(bool_param=value)
    if isinstance(value, int):
        return InferParameter(int64_param=value)
    # MLServer's message has no field for a float; the server reads numbers from text.
    return InferParameter(string_param=str(value))
