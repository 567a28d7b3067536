"""Typed contents of a large message as arrays, read where they lie."""

from collections.abc import Iterator, Sequence
from math import prod
from typing import Any

import numpy as np
from mlserver.grpc import dataplane_pb2 as pb

from ..errors import BadRequestError
from ..tensors.bounds import check_growth
from ..tensors.json_tensors import check_size
from ..tensors.raw import BYTES, DTYPES
from ..tensors.steps import OBJECTS, READ_BYTES, Steps, gathered
from ..tensors.wire_format import LENGTH, VARINT
from .cutting import VARINT_BYTES, Content

# The field of InferTensorContents that holds each datatype; those of `ONLY_RAW` have none.
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
_NUMBERS: dict[str, int] = {
    name: field.number for name, field in pb.InferTensorContents.DESCRIPTOR.fields_by_name.items()
}
# What a field's numbers are: how many bytes each has, or as what 64 bits are to be taken.
_FIXED: dict[str, np.dtype[Any]] = {
    "fp32_contents": np.dtype("<f4"),
    "fp64_contents": np.dtype("<f8"),
}
_VARINTS: dict[str, np.dtype[Any]] = {
    "bool_contents": np.dtype("?"),
    "int_contents": np.dtype("<i4"),
    "int64_contents": np.dtype("<i8"),
    "uint_contents": np.dtype("<u4"),
    "uint64_contents": np.dtype("<u8"),
}


def wrong_field(name: str, datatype: str) -> BadRequestError:
    """The error for data in another field than its datatype's."""
    field = CONTENTS.get(datatype, "raw_input_contents")
    return BadRequestError(f"Input '{name}' is {datatype}, so its data must be in {field}.")


def out_of_range(name: str, datatype: str) -> BadRequestError:
    """The error for numbers that their field can hold, but not their datatype."""
    limits = np.iinfo(DTYPES[datatype])
    return BadRequestError(
        f"Input '{name}' is {datatype}, so its data must be whole numbers from "
        f"{limits.min} to {limits.max}."
    )


def read_contents(
    name: str, datatype: str, shape: list[int], contents: Sequence[Content], sent: int
) -> Steps[Any]:
    """The elements of an input: a list of bytes, or an array.

    Args:
        sent: bytes of the whole message.

    Raises:
        BadRequestError: they are in another field, or not as many as the shape says.
        TooLargeError: they take too much memory.
    """
    field = CONTENTS.get(datatype, "")
    filled = [each for each in contents if each[0] in _NUMBERS.values() and len(each[2])]
    if datatype == BYTES:  # an empty element is one, too
        filled = [each for each in contents if each[0] == _NUMBERS[field] or each in filled]
    if any(number != _NUMBERS.get(field) for number, _, _ in filled):
        raise wrong_field(name, datatype)
    parts = [(kind, data) for _, kind, data in filled]
    if datatype == BYTES:
        check_size(name, shape, len(parts))
        elements: list[bytes] = []
        for _, data in parts:
            elements.append((yield from gathered([data])))
            if not len(elements) % OBJECTS:
                yield
        return elements
    if (dtype := _FIXED.get(field)) is not None:
        arrays = [np.frombuffer(data, dtype) for _, data in parts if not len(data) % dtype.itemsize]
        check_size(name, shape, sum(map(len, arrays)))
        found = arrays[0] if len(arrays) == 1 else np.concatenate([*arrays, np.empty(0, dtype)])
        return found.reshape(shape)
    size, count = sum(len(data) for _, data in parts), prod(shape)
    if count > size:  # each takes a byte
        check_size(name, shape, size)
    check_growth(name, datatype, count, sent)
    found = np.empty(count, DTYPES[datatype])
    at = 0
    for kind, data in parts:
        if kind not in (LENGTH, VARINT):
            raise wrong_field(name, datatype)
        for values in _varints(data):
            at += len(values)
            if at > count:
                break
            found[at - len(values) : at] = _narrowed(name, datatype, values, _VARINTS[field])
            yield
    check_size(name, shape, at)
    return found.reshape(shape)


def _narrowed(name: str, datatype: str, values: Any, dtype: np.dtype[Any]) -> Any:
    """64 bits each, as what their field holds; within the datatype's range."""
    if dtype.kind == "b":
        return values != 0
    held = values.astype(f"<u{dtype.itemsize}", copy=False).view(dtype)
    if datatype in NARROW:
        limits = np.iinfo(DTYPES[datatype])
        if held.min() < limits.min or held.max() > limits.max:
            raise out_of_range(name, datatype)
    return held


def _varints(data: memoryview) -> Iterator[Any]:
    """The numbers in protobuf's variable-length form, uint64, by pieces."""
    at = 0
    while at < len(data):
        piece = np.frombuffer(data[at : at + READ_BYTES], np.uint8)
        ends = np.flatnonzero(piece < 0x80)
        if not ends.size:
            raise BadRequestError("The message is not a ModelInferRequest.")
        at += int(ends[-1]) + 1
        if ends.size == ends[-1] + 1:  # a byte each
            yield piece[: ends.size].astype(np.uint64)
            continue
        starts = np.concatenate([[0], ends[:-1] + 1])
        sizes = ends - starts + 1
        if sizes.max() > VARINT_BYTES:
            raise BadRequestError("The message is not a ModelInferRequest.")
        values = np.zeros(ends.size, np.uint64)
        for place in range(int(sizes.max())):
            longer = sizes > place
            bits = (piece[starts[longer] + place] & 0x7F).astype(np.uint64)
            values[longer] |= bits << np.uint64(7 * place)
        yield values
