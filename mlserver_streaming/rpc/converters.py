"""gRPC messages <-> V2 requests and responses.

Raw tensors stay where they were received: `cut` finds them in the message without copying, and
their data are numpy views of those bytes. Both dialects share these messages.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError
from mlserver.grpc import dataplane_pb2 as pb
from mlserver.types import (
    InferenceRequest,
    InferenceResponse,
    Parameters,
    RequestOutput,
    ResponseOutput,
    TensorData,
)
from pydantic import ValidationError

from ..errors import BadRequestError
from ..models import messages
from ..regions.regions import Own, no_regions
from ..regions.spans import REGION, RegionOutput, Span, check_bytes
from ..settings import LimitSettings
from ..streams.classification import classes_of
from ..tensors.bounds import check_counts, check_elements
from ..tensors.infer_parameters import read_value, write_value
from ..tensors.json_codec import is_large
from ..tensors.json_tensors import check_size
from ..tensors.raw import (
    BYTES,
    DTYPES,
    ONLY_RAW,
    Buffer,
    check_shape,
    decode_raw,
    encode_raw,
    flat,
    most_elements,
    raw_parts,
)
from ..tensors.steps import OBJECTS, Steps
from ..tensors.wire_format import FieldsError, tag, varint
from .cutting import Content, cut, head_of
from .typed_contents import CONTENTS, NARROW, out_of_range, read_contents, wrong_field

# Field numbers in the protocol's messages: of a response; of one of its outputs; of that output's
# contents.
OUTPUT_TAG, RAW_OUTPUT_TAG = tag(5, 2), tag(6, 2)
CONTENTS_TAG, BYTES_TAG = tag(5, 2), tag(8, 2)
# Parts of messages that are kept, for the streams that run at once.
KEPT_PARTS = 1024
# An id may be as long as a message; what holds a longer one than this is not kept.
KEPT_ID_CHARACTERS = 128
# Below this, letting protobuf copy the tensors costs less than looking for them.
SMALL_MESSAGE_BYTES = 16 * 1024
# Half a millisecond.
INPUTS_IN_A_STEP = 32


@dataclass(frozen=True, slots=True)
class DecodedRequest:
    """A request as it came over gRPC: which model, the request, and the form of its tensors."""

    model_name: str
    model_version: str
    payload: InferenceRequest
    raw: bool

    @property
    def form(self) -> bool:
        return self.raw


def decode(message: bytes, limits: LimitSettings, own: Own = no_regions) -> Steps[DecodedRequest]:
    """The V2 request in a serialised ModelInferRequest; its raw tensors are views of `message`.

    Args:
        own: the caller's regions of shared memory, asked where tensors lie in them.

    Raises:
        MLServerError: there is no such region, or none may be used.
        BadRequestError: it is not such a message, a datatype is unknown, or data and shapes
            disagree.
        TooLargeError: there is more in it than `limits` allow.
    """
    raw: Sequence[Buffer]
    contents: list[list[Content] | None] | None = None
    try:
        if len(message) < SMALL_MESSAGE_BYTES:
            request = pb.ModelInferRequest.FromString(message)
            raw = list(request.raw_input_contents)
        else:
            parts = yield from cut(message, limits)
            request = pb.ModelInferRequest.FromString(parts.head)
            raw, contents = parts.raw, parts.contents
            yield
    except (DecodeError, FieldsError) as error:
        raise BadRequestError("The message is not a ModelInferRequest.") from error
    has_contents = (
        [tensor.HasField("contents") for tensor in request.inputs]
        if contents is None
        else [each is not None for each in contents]
    )
    shared = {i for i, tensor in enumerate(request.inputs) if REGION in tensor.parameters}
    _check(request, raw, has_contents, shared, limits)
    left = list(reversed(raw))
    elements = claimed = 0
    inputs = []
    for index, tensor in enumerate(request.inputs):
        shape = list(tensor.shape)
        given = {name: read_value(each) for name, each in tensor.parameters.items()}
        data: Any
        if index in shared or (raw and not has_contents[index]):
            received: Buffer
            if index in shared:
                span = Span.take(own(), f"input '{tensor.name}'", given)
                claimed += span.size
                check_bytes(limits, claimed)
                received = yield from span.read()
            else:
                received = left.pop()
            if tensor.datatype == BYTES:
                elements += most_elements(shape, received)
                check_elements(limits, elements)
            data = yield from decode_raw(tensor.name, tensor.datatype, shape, received)
        elif contents is None:
            data = _typed_elements(tensor)
        else:
            found = contents[index] or []
            data = yield from read_contents(
                tensor.name, tensor.datatype, shape, found, len(message)
            )
        if tensor.datatype == BYTES and has_contents[index]:
            elements += len(data)
            check_elements(limits, elements)
        inputs.append(
            messages.request_input(tensor.name, tensor.datatype, shape, data, _parameters(given))
        )
        if index % INPUTS_IN_A_STEP == INPUTS_IN_A_STEP - 1:
            yield
    payload = messages.request(request.id, inputs, decode_parameters(request.parameters))
    if request.outputs:
        payload.outputs = [_wanted(own, output) for output in request.outputs]
        # Here, since what is wrong with one request of a stream is none of the others' business.
        for output in payload.outputs:
            classes_of(output)
    as_raw = bool(raw or shared)
    return DecodedRequest(request.model_name, request.model_version, payload, as_raw)


def _wanted(own: Own, output: Any) -> RequestOutput:
    given = {name: read_value(each) for name, each in output.parameters.items()}
    if REGION not in given:
        return RequestOutput.model_construct(name=output.name, parameters=_parameters(given))
    span = Span.take(own(), f"output '{output.name}'", given)
    return RegionOutput.to(span, output.name, _parameters(given))


def named(message: bytes) -> tuple[str, str, str]:
    """Model, version and id of a message that may be malformed or too large; empty if unknown."""
    try:
        found = pb.ModelInferRequest.FromString(head_of(message))
    except DecodeError:
        return "", "", ""
    return found.model_name, found.model_version, found.id


def _check(
    request: pb.ModelInferRequest,
    raw: Sequence[Buffer],
    has_contents: list[bool],
    shared: set[int],
    limits: LimitSettings,
) -> None:
    """What can be told of a request before any tensor is read.

    Args:
        shared: the inputs that lie in shared memory.
    """
    check_counts(
        limits,
        inputs=len(request.inputs),
        outputs=len(request.outputs),
        parameters=len(request.parameters),
    )
    for index in shared:
        if has_contents[index]:
            name = request.inputs[index].name
            raise BadRequestError(f"Input '{name}' has both contents and a region; send one.")
    wanted = has_contents.count(False) - len(shared)
    if raw and len(raw) != wanted:
        raise BadRequestError(
            f"There are {len(raw)} raw_input_contents for {wanted} inputs without contents of "
            "their own; send one for each."
        )
    for tensor in request.inputs:
        check_counts(limits, parameters=len(tensor.parameters))
        if tensor.datatype != BYTES and tensor.datatype not in DTYPES:
            raise BadRequestError(
                f"Input '{tensor.name}' has the unknown datatype '{tensor.datatype[:30]}'."
            )
        check_shape(tensor.name, list(tensor.shape))


def _typed_elements(tensor: Any) -> list[Any]:
    """The elements of a tensor's typed contents."""
    name, datatype, shape = tensor.name, tensor.datatype, list(tensor.shape)
    filled = tensor.contents.ListFields()
    if any(descriptor.name != CONTENTS.get(datatype) for descriptor, _ in filled):
        raise wrong_field(name, datatype)
    elements = list(filled[0][1]) if filled else []
    check_size(name, shape, len(elements))
    if elements and datatype in NARROW:
        limits = np.iinfo(DTYPES[datatype])
        if min(elements) < limits.min or max(elements) > limits.max:
            raise out_of_range(name, datatype)
    return elements


def decode_parameters(parameters: Mapping[str, pb.InferParameter]) -> Parameters | None:
    """Parameters of every kind, Triton's `double_param` and `uint64_param` too."""
    return _parameters({name: read_value(each) for name, each in parameters.items()})


def _parameters(values: dict[str, Any]) -> Parameters | None:
    if not values:
        return None
    try:
        return Parameters(**values)
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


def encode_response(response: InferenceResponse, raw: bool, parameters: bytes = b"") -> bytes:
    """The serialised ModelInferResponse, its tensors raw or as typed contents.

    Args:
        parameters: more parameters for the response, as `encoded_parameters` has them.
    """
    # Put together from serialised parts, which protobuf allows: those that a stream repeats are
    # kept, and large tensors are copied once.
    request_id = response.id or ""
    head = _head if len(request_id) <= KEPT_ID_CHARACTERS else _head.__wrapped__
    parts: list[Any] = [head(response.model_name, response.model_version or "", request_id)]
    if response.parameters is not None:
        parts.append(encoded_parameters(response.parameters))
    parts.append(parameters)
    # Raw is all or nothing.
    datatypes = [_datatype(output) for output in response.outputs]
    raw = raw or not ONLY_RAW.isdisjoint(datatypes)
    tensors: list[Any] = []
    for output, datatype in zip(response.outputs, datatypes, strict=True):
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
    outputs, response = response.outputs, response.model_copy(update={"outputs": []})
    parts: list[Buffer] = [encode_response(response, raw, parameters)]
    datatypes = [_datatype(output) for output in outputs]
    raw = raw or not ONLY_RAW.isdisjoint(datatypes)
    behind: list[Buffer] = []
    for output, datatype in zip(outputs, datatypes, strict=True):
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
