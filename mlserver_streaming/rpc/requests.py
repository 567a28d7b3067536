"""gRPC messages to V2 requests.

Raw tensors stay where they were received: `cut` finds them in the message without copying, and
their data are numpy views of those bytes. Both dialects share these messages.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError
from mlserver.grpc import dataplane_pb2 as pb
from mlserver.types import InferenceRequest, RequestOutput

from ..errors import BadRequestError
from ..models import messages
from ..regions.regions import Own, no_regions
from ..regions.spans import REGION, RegionOutput, Span, check_bytes
from ..settings import LimitSettings
from ..streams.classification import classes_of
from ..tensors.bounds import check_counts, check_elements
from ..tensors.infer_parameters import read_value
from ..tensors.json_tensors import check_size
from ..tensors.raw import BYTES, DTYPES, Buffer, check_shape, decode_raw, most_elements
from ..tensors.steps import Steps
from ..tensors.wire_format import FieldsError
from .cutting import Content, cut, head_of
from .parameters import decode_parameters, parameters_of
from .typed_contents import CONTENTS, NARROW, out_of_range, read_contents, wrong_field

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
            if len(parts.head) >= SMALL_MESSAGE_BYTES:
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
            messages.request_input(tensor.name, tensor.datatype, shape, data, parameters_of(given))
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
        return RequestOutput.model_construct(name=output.name, parameters=parameters_of(given))
    span = Span.take(own(), f"output '{output.name}'", given)
    return RegionOutput.to(span, output.name, parameters_of(given))


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
