"""V2 responses to gRPC messages, put together from serialised parts.

Both dialects share these messages.
"""

from functools import lru_cache
from typing import Any

import numpy as np
from mlserver.grpc import dataplane_pb2 as pb
from mlserver.types import InferenceResponse, Parameters, ResponseOutput, TensorData

from ..tensors.json_codec import is_large
from ..tensors.raw import BYTES, ONLY_RAW, Buffer, encode_raw, flat, raw_parts
from ..tensors.steps import OBJECTS, Steps
from ..tensors.wire_format import tag, varint
from .parameters import encode_parameters
from .typed_contents import CONTENTS

# Field numbers in the protocol's messages: of a response; of one of its outputs; of that output's
# contents.
OUTPUT_TAG, RAW_OUTPUT_TAG = tag(5, 2), tag(6, 2)
CONTENTS_TAG, BYTES_TAG = tag(5, 2), tag(8, 2)
# Parts of messages that are kept, for the streams that run at once.
KEPT_PARTS = 1024
# An id may be as long as a message; what holds a longer one than this is not kept.
KEPT_ID_CHARACTERS = 128


def encode_response(response: InferenceResponse, raw: bool, parameters: bytes = b"") -> bytes:
    """The serialised ModelInferResponse, its tensors raw or as typed contents.

    Args:
        parameters: more parameters for the response, as `encoded_parameters` has them.
    """
    # Put together from serialised parts, which protobuf allows: those that a stream repeats are
    # kept, and large tensors are copied once.
    parts: list[Any] = _before_outputs(response, parameters)
    # Raw is all or nothing.
    outputs = response.outputs
    if not raw and len(outputs) == 1 and (text := _text(outputs[0])) is not None:
        parts += text
        return b"".join(parts)
    datatypes = [_datatype(output) for output in outputs]
    raw = raw or not ONLY_RAW.isdisjoint(datatypes)
    tensors: list[Any] = []
    for output, datatype in zip(outputs, datatypes, strict=True):
        data = output.data.root if isinstance(output.data, TensorData) else output.data
        tensor = _described_by(output, datatype)
        if raw:
            tensors.append(encode_raw(datatype, data))
        else:
            tensor = b"".join((tensor, CONTENTS_TAG, _sized(_typed_contents(datatype, data))))
        parts += (OUTPUT_TAG, _sized(tensor))
    for encoded in tensors:
        size = encoded.nbytes if isinstance(encoded, np.ndarray) else len(encoded)
        parts += [RAW_OUTPUT_TAG, varint(size), encoded]
    return b"".join(parts)


def _text(output: ResponseOutput) -> tuple[bytes, ...] | None:
    """A typed output of one string, in parts, as tokens come; None of any other."""
    data = output.data.root if isinstance(output.data, TensorData) else output.data
    if type(data) is not list or len(data) != 1 or _datatype(output) != BYTES:
        return None
    element = data[0]
    if type(element) is str:
        element = element.encode()
    elif type(element) is not bytes:
        return None
    head = BYTES_TAG + varint(len(element))
    head = CONTENTS_TAG + varint(len(head) + len(element)) + head
    described = _described_by(output, BYTES)
    size = varint(len(described) + len(head) + len(element))
    return OUTPUT_TAG, size, described, head, element


def _before_outputs(response: InferenceResponse, parameters: bytes) -> list[Buffer]:
    """The parts of a response before its outputs."""
    request_id = response.id or ""
    head = _head if len(request_id) <= KEPT_ID_CHARACTERS else _head.__wrapped__
    parts: list[Buffer] = [head(response.model_name, response.model_version or "", request_id)]
    if response.parameters is not None:
        parts.append(encoded_parameters(response.parameters))
    parts.append(parameters)
    return parts


def encoded_parameters(parameters: Parameters) -> bytes:
    """A serialised ModelInferResponse with nothing but parameters."""
    message = pb.ModelInferResponse()
    encode_parameters(message.parameters, parameters)
    return message.SerializeToString()


def response_parts(
    response: InferenceResponse, raw: bool, parameters: bytes = b""
) -> Steps[list[Buffer]]:
    """As `encode_response`, in parts; arrays are not copied."""
    if not is_large(response):
        return [encode_response(response, raw, parameters)]
    parts = _before_outputs(response, parameters)
    datatypes = [_datatype(output) for output in response.outputs]
    raw = raw or not ONLY_RAW.isdisjoint(datatypes)
    behind: list[Buffer] = []
    for output, datatype in zip(response.outputs, datatypes, strict=True):
        data = output.data.root if isinstance(output.data, TensorData) else output.data
        described = _described_by(output, datatype)
        contents: list[Buffer] = []
        if raw:
            tensor = yield from raw_parts(datatype, data)
            behind += (RAW_OUTPUT_TAG, varint(sum(map(len, tensor))), *tensor)
        else:
            contents = yield from _typed_parts(datatype, data)
            size = sum(map(len, contents))
            contents = [CONTENTS_TAG, varint(size), *contents]
        size = len(described) + sum(map(len, contents))
        parts += (OUTPUT_TAG, varint(size), described, *contents)
    return parts + behind


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


def _described_by(output: ResponseOutput, datatype: str) -> bytes:
    """The part of an output that says what it is."""
    described = output.parameters
    if described is None or not described.model_extra:
        kind = described.content_type if described is not None else None
        return _described(output.name, datatype, tuple(output.shape), kind)
    whole = pb.ModelInferResponse.InferOutputTensor(
        name=output.name, datatype=datatype, shape=output.shape
    )
    encode_parameters(whole.parameters, described)
    return whole.SerializeToString()


def _typed_parts(datatype: str, data: Any) -> Steps[list[Buffer]]:
    """The same as `_typed_contents`, in parts: what is repeated may be in several."""
    elements = data.reshape(-1) if isinstance(data, np.ndarray) else flat(data)
    parts: list[Buffer] = []
    for at in range(0, len(elements), OBJECTS):
        parts.append(_typed_contents(datatype, elements[at : at + OBJECTS]))
        yield
    return parts


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
