"""The protocol's gRPC messages: requests from values, values from responses. No I/O."""

from __future__ import annotations

from collections.abc import Mapping

from mlserver.grpc.dataplane_pb2 import InferParameter, ModelInferRequest, ModelInferResponse

from .errors import ProtocolError

Parameter = bool | int | float | str

# A BYTES element in raw contents stands behind its length, a little-endian uint32.
# https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_grpc.md
_LENGTH_BYTES = 4


def bytes_request(
    data: bytes,
    *,
    model: str,
    request_id: str,
    tensor: str,
    parameters: Mapping[str, Parameter] | None = None,
) -> ModelInferRequest:
    """A request with one input tensor, BYTES [1], its element in raw contents."""
    request = ModelInferRequest(
        model_name=model,
        id=request_id,
        inputs=[ModelInferRequest.InferInputTensor(name=tensor, datatype="BYTES", shape=[1])],
        raw_input_contents=[len(data).to_bytes(_LENGTH_BYTES, "little") + data],
    )
    for name, value in (parameters or {}).items():
        request.parameters[name].CopyFrom(_parameter(value))
    return request


def bytes_output(response: ModelInferResponse, tensor: str) -> bytes:
    """The first element of the output `tensor`; raises ProtocolError when there is none."""
    for index, output in enumerate(response.outputs):
        if output.name != tensor:
            continue
        if index < len(response.raw_output_contents):
            return _first_element(response.raw_output_contents[index], tensor)
        if output.contents.bytes_contents:
            return output.contents.bytes_contents[0]
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


def _first_element(raw: bytes, tensor: str) -> bytes:
    length = int.from_bytes(raw[:_LENGTH_BYTES], "little")
    if len(raw) < _LENGTH_BYTES + length:
        raise ProtocolError(f"output '{tensor}' is shorter than it says")
    return raw[_LENGTH_BYTES : _LENGTH_BYTES + length]


def _parameter(value: Parameter) -> InferParameter:
    if isinstance(value, bool):
        return InferParameter(bool_param=value)
    if isinstance(value, int):
        return InferParameter(int64_param=value)
    # MLServer's message has no field for a float; the server reads numbers from text.
    return InferParameter(string_param=str(value))
