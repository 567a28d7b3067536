"""V2 requests and responses <-> tuples, which cross to another process at a fraction of the cost.

Both ends know that they are well-formed, so nothing is validated again. Arrays stay arrays: their
memory crosses as it is (frames.py). Long lists of numbers become arrays for the same reason.
"""

from math import prod
from typing import Any

import numpy as np
from mlserver.types import (
    InferenceRequest,
    InferenceResponse,
    Parameters,
    RequestInput,
    RequestOutput,
    ResponseOutput,
    TensorData,
)

from ..tensors.raw import BYTES, DTYPES

Packed = tuple[Any, ...]

# Elements from which on a list of numbers crosses as an array.
LONG_LIST = 1024
# What a response counts beside its data, and an element of a list.
RESPONSE_BYTES, ELEMENT_BYTES = 256, 32

_new, _set = object.__new__, object.__setattr__
# The fields that pydantic is told were set: all, and so one set will do for every object.
REQUEST_FIELDS = set(InferenceRequest.model_fields)
RESPONSE_FIELDS = set(InferenceResponse.model_fields)
TENSOR_FIELDS = set(RequestInput.model_fields)
OUTPUT_FIELDS = set(RequestOutput.model_fields)
DATA_FIELDS = {"root"}


def pack_request(request: InferenceRequest) -> Packed:
    return (
        request.id,
        _pack_parameters(request.parameters),
        [
            (
                tensor.name,
                tensor.shape,
                _datatype(tensor),
                _pack_parameters(tensor.parameters),
                _numbers(tensor, exact=False),
            )
            for tensor in request.inputs
        ],
        request.outputs
        and [(output.name, _pack_parameters(output.parameters)) for output in request.outputs],
    )


def unpack_request(packed: Packed) -> InferenceRequest:
    id, parameters, inputs, outputs = packed
    found: InferenceRequest = _construct(
        InferenceRequest,
        {
            "id": id,
            "parameters": _unpack_parameters(parameters),
            "inputs": [_unpack_tensor(RequestInput, tensor) for tensor in inputs],
            "outputs": outputs
            and [
                _construct(
                    RequestOutput,
                    {"name": name, "parameters": _unpack_parameters(described)},
                    OUTPUT_FIELDS,
                )
                for name, described in outputs
            ],
        },
        REQUEST_FIELDS,
    )
    return found


def pack_response(response: InferenceResponse) -> tuple[Packed, int]:
    """A response's tuple, and about how many bytes it takes."""
    size = RESPONSE_BYTES
    outputs = []
    for output in response.outputs:
        data = _numbers(output, exact=True)
        size += _size(data)
        described = output.parameters
        outputs.append(
            (
                output.name,
                output.shape,
                _datatype(output),
                None if described is None else _pack_parameters(described),
                data,
            )
        )
    parameters = response.parameters
    return (
        response.model_name,
        response.model_version,
        response.id,
        None if parameters is None else _pack_parameters(parameters),
        outputs,
    ), size


def unpack_response(packed: Packed) -> InferenceResponse:
    model_name, model_version, id, parameters, outputs = packed
    found: InferenceResponse = _construct(
        InferenceResponse,
        {
            "model_name": model_name,
            "model_version": model_version,
            "id": id,
            "parameters": None if parameters is None else _unpack_parameters(parameters),
            "outputs": [_unpack_tensor(ResponseOutput, tensor) for tensor in outputs],
        },
        RESPONSE_FIELDS,
    )
    return found


def _unpack_tensor(kind: Any, packed: Packed) -> Any:
    name, shape, datatype, parameters, data = packed
    return _construct(
        kind,
        {
            "name": name,
            "shape": shape,
            "datatype": datatype,
            "parameters": None if parameters is None else _unpack_parameters(parameters),
            "data": _construct(TensorData, {"root": data}, DATA_FIELDS),
        },
        TENSOR_FIELDS,
    )


def _pack_parameters(parameters: Parameters | None) -> Packed | None:
    if parameters is None:
        return None
    return parameters.content_type, parameters.headers, parameters.model_extra


def _unpack_parameters(packed: Packed | None) -> Parameters | None:
    if packed is None:
        return None
    content_type, headers, extra = packed
    found: Parameters = _construct(
        Parameters,
        {"content_type": content_type, "headers": headers},
        {"content_type", "headers"},
        extra or {},
    )
    return found


def _construct(
    kind: Any, values: dict[str, Any], fields: set[str], extra: dict[str, Any] | None = None
) -> Any:
    """What `model_construct` makes, at a sixth of its cost."""
    found = _new(kind)
    _set(found, "__dict__", values)
    _set(found, "__pydantic_fields_set__", fields)
    _set(found, "__pydantic_extra__", extra)
    _set(found, "__pydantic_private__", None)
    return found


def _datatype(tensor: Any) -> str:
    datatype = tensor.datatype
    return datatype if isinstance(datatype, str) else str(datatype.value)


def _numbers(tensor: Any, exact: bool) -> Any:
    """A tensor's data, long lists of numbers as an array.

    Args:
        exact: keep the numbers as they are, also where the datatype is narrower.
    """
    data = tensor.data.root if isinstance(tensor.data, TensorData) else tensor.data
    if not isinstance(data, list) or prod(tensor.shape) < LONG_LIST:
        return data
    datatype = _datatype(tensor)
    if datatype == BYTES:
        return data
    try:
        found = np.array(data, None if exact else DTYPES[datatype])
    except (ValueError, TypeError, OverflowError):
        return data
    return found if found.dtype.kind in "biuf" else data


def _size(data: Any) -> int:
    if isinstance(data, np.ndarray):
        return data.nbytes
    if not isinstance(data, list | tuple):
        return len(data) if isinstance(data, str | bytes) else ELEMENT_BYTES
    size = 0
    for element in data:
        size += len(element) if isinstance(element, str | bytes) else ELEMENT_BYTES
    return size
