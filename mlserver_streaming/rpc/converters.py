"""gRPC messages <-> V2 requests and responses.

Raw tensors stay where they were received: `split_raw` finds them in the message without copying,
and their data are numpy views of those bytes. Both dialects share these messages.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError
from mlserver.grpc import dataplane_pb2 as pb
from mlserver.types import (
    InferenceRequest,
    InferenceResponse,
    Parameters,
    RequestInput,
    RequestOutput,
    TensorData,
)
from pydantic import ValidationError

from ..errors import BadRequestError
from ..tensors.infer_parameters import read_value, write_value
from ..tensors.raw import BYTES, DTYPES, Buffer, check_shape, decode_raw, encode_raw, flat
from ..tensors.wire_format import split_raw, tag, varint

# The field of InferTensorContents that holds each datatype. FP16 has none: it travels raw only.
CONTENTS = {
    "BOOL": "bool_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    BYTES: "bytes_contents",
}
# Narrower than the field that holds them.
NARROW = {"UINT8", "UINT16", "INT8", "INT16"}
# Field numbers in the protocol's messages: of a request; of a response; of one of its outputs; of
# that output's contents.
RAW_INPUT_CONTENTS = 7
OUTPUT_TAG, RAW_OUTPUT_TAG = tag(5, 2), tag(6, 2)
CONTENTS_TAG, BYTES_TAG = tag(5, 2), tag(8, 2)
# Parts of messages that are kept, for the streams that run at once.
KEPT_PARTS = 1024
# An id may be as long as a message; what holds a longer one than this is not kept.
KEPT_ID_CHARACTERS = 128
# Below this, letting protobuf copy the tensors costs less than looking for them.
SMALL_MESSAGE_BYTES = 16 * 1024


@dataclass(frozen=True, slots=True)
class DecodedRequest:
    """A request as it came over gRPC: which model, the request, and the form of its tensors."""

    model_name: str
    model_version: str
    payload: InferenceRequest
    raw: bool


def decode_message(message: bytes) -> tuple[pb.ModelInferRequest, Sequence[Buffer]]:
    """The protobuf of a ModelInferRequest, and its raw tensors as views of `message`.

    Raises:
        BadRequestError: it is not such a message.
    """
    try:
        if len(message) < SMALL_MESSAGE_BYTES:
            request = pb.ModelInferRequest.FromString(message)
            return request, list(request.raw_input_contents)
        header, raw = split_raw(message, RAW_INPUT_CONTENTS)
        return pb.ModelInferRequest.FromString(header), raw
    except (DecodeError, ValueError) as error:
        raise BadRequestError("The message is not a ModelInferRequest.") from error


def decode_request(request: pb.ModelInferRequest, raw: Sequence[Buffer]) -> DecodedRequest:
    """The V2 request in a message.

    Raises:
        BadRequestError: a datatype is unknown, or data and shapes disagree.
    """
    wanted = sum(not tensor.HasField("contents") for tensor in request.inputs)
    if raw and len(raw) != wanted:
        raise BadRequestError(
            f"There are {len(raw)} raw_input_contents for {wanted} inputs without contents of "
            "their own; send one for each."
        )
    left = list(reversed(raw))
    inputs = []
    for tensor in request.inputs:
        shape = list(tensor.shape)
        if tensor.datatype != BYTES and tensor.datatype not in DTYPES:
            raise BadRequestError(
                f"Input '{tensor.name}' has the unknown datatype '{tensor.datatype[:30]}'."
            )
        check_shape(tensor.name, shape)
        data: Any
        if raw and not tensor.HasField("contents"):
            data = decode_raw(tensor.name, tensor.datatype, shape, left.pop())
        else:
            data = _typed_elements(tensor)
        inputs.append(
            RequestInput.model_construct(
                name=tensor.name,
                shape=shape,
                datatype=tensor.datatype,
                parameters=decode_parameters(tensor.parameters),
                data=TensorData.model_construct(root=data),
            )
        )
    payload = InferenceRequest.model_construct(
        id=request.id, parameters=decode_parameters(request.parameters), inputs=inputs
    )
    if request.outputs:
        payload.outputs = [
            RequestOutput.model_construct(
                name=output.name, parameters=decode_parameters(output.parameters)
            )
            for output in request.outputs
        ]
    return DecodedRequest(request.model_name, request.model_version, payload, bool(raw))


def _typed_elements(tensor: Any) -> list[Any]:
    """The elements of a tensor's typed contents."""
    name, datatype, shape = tensor.name, tensor.datatype, list(tensor.shape)
    field = CONTENTS.get(datatype, "raw_input_contents")
    filled = tensor.contents.ListFields()
    if any(descriptor.name != field for descriptor, _ in filled):
        raise BadRequestError(f"Input '{name}' is {datatype}, so its data must be in {field}.")
    elements = list(filled[0][1]) if filled else []
    if len(elements) != prod(shape):
        raise BadRequestError(
            f"Input '{name}' has shape {shape}, but its data holds {len(elements)} element(s); "
            "send as many elements as the shape says."
        )
    if elements and datatype in NARROW:
        limits = np.iinfo(DTYPES[datatype])
        if min(elements) < limits.min or max(elements) > limits.max:
            raise BadRequestError(
                f"Input '{name}' is {datatype}, so its data must be whole numbers from "
                f"{limits.min} to {limits.max}."
            )
    return elements


def decode_parameters(parameters: Mapping[str, pb.InferParameter]) -> Parameters | None:
    """Parameters of every kind, Triton's `double_param` and `uint64_param` too."""
    if not parameters:
        return None
    try:
        return Parameters(**{name: read_value(each) for name, each in parameters.items()})
    except ValidationError as error:
        field = error.errors()[0]["loc"][0]
        raise BadRequestError(f"Parameter '{field}' has the wrong type.") from error


def with_plain_states(index: Any) -> Any:
    """A repository's index, its states as the protocol names them. MLServer writes `State.READY`,
    Python's name."""
    for item in index.models:
        item.state = item.state.removeprefix("State.")
    return index


def encode_parameters(target: Mapping[str, pb.InferParameter], parameters: Parameters) -> None:
    """Write parameters into a message's map; headers travel as metadata, not here."""
    values = dict(parameters.model_extra or {})
    if parameters.content_type is not None:
        values["content_type"] = parameters.content_type
    for name, value in values.items():
        if value is not None:
            write_value(target[name], value)


def encode_response(
    response: InferenceResponse, raw: bool, parameters: Mapping[str, Any] | None = None
) -> bytes:
    """The serialised ModelInferResponse, its tensors raw or as typed contents.

    Args:
        parameters: more parameters for the response.
    """
    # Put together from serialised parts, which protobuf allows: those that a stream repeats are
    # kept, and large tensors are copied once.
    request_id = response.id or ""
    head = _head if len(request_id) <= KEPT_ID_CHARACTERS else _head.__wrapped__
    parts: list[Any] = [head(response.model_name, response.model_version or "", request_id)]
    if response.parameters is not None or parameters:
        message = pb.ModelInferResponse()
        if response.parameters is not None:
            encode_parameters(message.parameters, response.parameters)
        if parameters:
            encode_parameters(message.parameters, Parameters(**parameters))
        parts.append(message.SerializeToString())
    # Typed contents have no field for FP16, and raw is all or nothing.
    datatypes = [_datatype(output) for output in response.outputs]
    raw = raw or "FP16" in datatypes
    tensors: list[Any] = []
    for output, datatype in zip(response.outputs, datatypes, strict=True):
        data = output.data.root if isinstance(output.data, TensorData) else output.data
        described = output.parameters
        if described is None or not described.model_extra:
            kind = described.content_type if described is not None else None
            tensor = _described(output.name, datatype, tuple(output.shape), kind)
        else:
            whole = pb.ModelInferResponse.InferOutputTensor(
                name=output.name, datatype=datatype, shape=output.shape
            )
            encode_parameters(whole.parameters, described)
            tensor = whole.SerializeToString()
        if raw:
            tensors.append(encode_raw(datatype, data))
        else:
            tensor = b"".join((tensor, CONTENTS_TAG, _sized(_typed_contents(datatype, data))))
        parts += (OUTPUT_TAG, _sized(tensor))
    for encoded in tensors:
        size = encoded.nbytes if isinstance(encoded, np.ndarray) else len(encoded)
        parts += [RAW_OUTPUT_TAG, varint(size), encoded]
    return b"".join(parts)


@lru_cache(KEPT_PARTS)
def _head(model_name: str, model_version: str, request_id: str) -> bytes:
    """The part of a response that says whose it is."""
    return pb.ModelInferResponse(
        model_name=model_name, model_version=model_version, id=request_id
    ).SerializeToString()


@lru_cache(KEPT_PARTS)
def _described(name: str, datatype: str, shape: tuple[int, ...], content_type: str | None) -> bytes:
    """The part of an output that says what it is: all but its data."""
    tensor = pb.ModelInferResponse.InferOutputTensor(name=name, datatype=datatype, shape=shape)
    if content_type is not None:
        tensor.parameters["content_type"].string_param = content_type
    return tensor.SerializeToString()


def _typed_contents(datatype: str, data: Any) -> bytes:
    """The serialised InferTensorContents of a tensor."""
    elements = flat(data)
    if datatype != BYTES:
        return pb.InferTensorContents(**{CONTENTS[datatype]: elements}).SerializeToString()
    parts: list[bytes] = []
    for element in elements:
        parts += (BYTES_TAG, _sized(element.encode() if isinstance(element, str) else element))
    return b"".join(parts)


def _sized(data: bytes) -> bytes:
    """Data behind their length, as protobuf has them."""
    return varint(len(data)) + data


def _datatype(output: Any) -> str:
    datatype = output.datatype
    return datatype if isinstance(datatype, str) else str(datatype.value)
