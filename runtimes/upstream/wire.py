"""What goes to another inference server and what comes back, as bytes. No I/O.

The two gRPC dialects of the protocol share their requests and unary replies. On a stream MLServer
replies with the bare ModelInferResponse, Triton with ModelStreamInferResponse{1: error_message,
2: infer_response}. Tensors are passed on as they came: raw, without being looked into.
"""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from math import prod
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError
from mlserver.grpc import dataplane_pb2 as pb
from mlserver.types import InferenceRequest, Parameters, RequestInput, ResponseOutput, TensorData

from mlserver_streaming.models.errors import MLServerError, RequestError
from mlserver_streaming.tensors.infer_parameters import read_value, write_value
from mlserver_streaming.tensors.raw import BYTES, DTYPES, decode_raw, flat, pack_bytes
from mlserver_streaming.tensors.steps import finish
from mlserver_streaming.tensors.wire_format import (
    LENGTH,
    FieldsError,
    fields,
    tag,
    varint,
)

# Field numbers of the protocol's messages.
RAW_INPUT_CONTENTS, ERROR_MESSAGE, INFER_RESPONSE, FIRST_AFTER = 7, 1, 2, 3
# About the hop to this service, not for the one behind it.
OURS = frozenset({"timeout", "headers", "triton_enable_empty_final_response"})
FINAL = "triton_final_response"


class Dialect(StrEnum):
    AUTO, MLSERVER, TRITON = "auto", "mlserver", "triton"


class UpstreamReplyError(MLServerError):
    """The upstream's reply is not what the protocol allows."""

    def __init__(self, reason: str):
        super().__init__(f"The upstream's reply cannot be read: {reason}", 502)


@dataclass(frozen=True, slots=True)
class Reply:
    """One reply: its parts as V2 has them, or the `error` that the upstream told in its place."""

    id: str
    outputs: list[ResponseOutput]
    parameters: dict[str, Any]
    error: str | None = None


def encode_request(
    request: InferenceRequest, model: str, version: str, *, doubles: bool = False
) -> bytes:
    """A serialised ModelInferRequest for the upstream's model, all its tensors raw.

    Args:
        doubles: send numbers with a fraction as such, which only Triton knows, not as text.

    Raises:
        RequestError: an input's data is not of the size that shape and datatype say.
    """
    message = pb.ModelInferRequest(model_name=model, model_version=version, id=request.id or "")
    _encode_parameters(message.parameters, request.parameters, doubles)
    tensors = []
    for tensor in request.inputs:
        datatype = str(tensor.datatype)
        added = message.inputs.add(name=tensor.name, datatype=datatype, shape=tensor.shape)
        _encode_parameters(added.parameters, tensor.parameters, doubles)
        tensors.append(raw_tensor(tensor))
    for output in request.outputs or []:
        wanted = message.outputs.add(name=output.name)
        _encode_parameters(wanted.parameters, output.parameters, doubles)
    # Appended to the serialised rest, which protobuf allows, large tensors are copied once.
    parts: list[Any] = [message.SerializeToString()]
    for raw in tensors:
        size = raw.nbytes if isinstance(raw, np.ndarray) else len(raw)
        parts += [tag(RAW_INPUT_CONTENTS, LENGTH) + varint(size), raw]
    return b"".join(parts)


def raw_tensor(tensor: RequestInput) -> Any:
    """An input's raw form: bytes, or the contiguous array that holds them.

    Raises:
        RequestError: unknown datatype, or data of another size than its shape.
    """
    datatype, shape = str(tensor.datatype), list(tensor.shape)
    data = tensor.data.root if isinstance(tensor.data, TensorData) else tensor.data
    if datatype == BYTES:
        elements = flat(data)
        if len(elements) != prod(shape):
            raise RequestError(
                f"Input '{tensor.name}' is BYTES of shape {shape}, so {prod(shape)} element(s), "
                f"but its data holds {len(elements)}."
            )
        return pack_bytes(elements)
    if datatype not in DTYPES:
        raise RequestError(f"Input '{tensor.name}' has the unknown datatype '{datatype[:30]}'.")
    try:
        array = np.ascontiguousarray(data, DTYPES[datatype])
    except (ValueError, TypeError, OverflowError) as error:
        raise RequestError(f"The data of input '{tensor.name}' is not {datatype}.") from error
    expected = prod(shape) * array.itemsize
    if array.nbytes != expected:
        raise RequestError(
            f"Input '{tensor.name}' is {datatype} of shape {shape}, so {expected} bytes, but its "
            f"data has {array.nbytes}."
        )
    return array


def dialect_of(message: bytes, model: str) -> Dialect:
    """In which dialect a stream's reply is, told by its fields.

    Raises:
        UpstreamReplyError: it is no protobuf message.
    """
    first, second = b"", b""
    for number, value in _fields(message):
        if number >= FIRST_AFTER:
            return Dialect.MLSERVER
        if number == ERROR_MESSAGE:
            first = bytes(value)
        else:
            second = bytes(value[: len(model) + 16])
    # Triton's has either an error's text or a whole message whose first field is the model's name.
    if second.startswith(b"\x0a") or first.decode(errors="replace") != model:
        return Dialect.TRITON
    return Dialect.MLSERVER


def decode_stream_reply(message: bytes, dialect: Dialect) -> Reply:
    """A reply of a stream, in its dialect (not AUTO).

    Raises:
        UpstreamReplyError: it is something else.
    """
    if dialect is Dialect.MLSERVER:
        return decode_reply(message)
    error, inner = "", b""
    for number, value in _fields(message):
        if number == ERROR_MESSAGE:
            error = bytes(value).decode(errors="replace")
        elif number == INFER_RESPONSE:
            inner = bytes(value)
    reply = decode_reply(inner)
    return Reply(reply.id, [], {}, error) if error else reply


def decode_reply(message: bytes) -> Reply:
    """A ModelInferResponse; raw tensors stay views of the bytes.

    Raises:
        UpstreamReplyError: it is something else.
    """
    try:
        found = pb.ModelInferResponse.FromString(message)
    except DecodeError as error:
        raise UpstreamReplyError("it is not a ModelInferResponse.") from error
    raw = list(found.raw_output_contents)
    if raw and len(raw) != len(found.outputs):
        raise UpstreamReplyError(f"it has {len(raw)} raw tensors for {len(found.outputs)} outputs.")
    outputs = []
    for index, output in enumerate(found.outputs):
        shape = list(output.shape)
        data: Any
        if raw:
            data = _decode_raw(output.name, output.datatype, shape, raw[index])
        else:
            contents = output.contents.ListFields()
            data = list(contents[0][1]) if contents else []
        outputs.append(
            ResponseOutput.model_construct(
                name=output.name,
                shape=shape,
                datatype=output.datatype,
                parameters=_parameters(output.parameters),
                data=TensorData.model_construct(root=data),
            )
        )
    parameters = {name: read_value(parameter) for name, parameter in found.parameters.items()}
    parameters.pop(FINAL, None)
    return Reply(found.id, outputs, parameters)


def _decode_raw(name: str, datatype: str, shape: list[int], raw: bytes) -> Any:
    if datatype == BYTES or datatype in DTYPES:
        # Its own text is about the input of a request.
        with suppress(MLServerError):
            return finish(decode_raw(name, datatype, shape, raw))
    raise UpstreamReplyError(
        f"output '{name}' is {datatype} of shape {shape}, but has {len(raw)} bytes."
    )


def _encode_parameters(
    target: Mapping[str, pb.InferParameter], parameters: Parameters | None, doubles: bool
) -> None:
    if parameters is None:
        return
    values = {**(parameters.model_extra or {}), "content_type": parameters.content_type}
    for name, value in values.items():
        if value is None or name in OURS:
            continue
        write_value(target[name], value, doubles=doubles)


def _parameters(parameters: Mapping[str, pb.InferParameter]) -> Parameters | None:
    if not parameters:
        return None
    return Parameters(**{name: read_value(each) for name, each in parameters.items()})


def _fields(message: bytes) -> Iterator[tuple[int, memoryview]]:
    try:
        yield from fields(message)
    except FieldsError as error:
        raise UpstreamReplyError(str(error)) from error
