"""Raw tensors of the V2 protocol: little-endian, row-major; used by gRPC and by binary HTTP."""

from math import prod
from typing import Any

import numpy as np

from ..errors import BadRequestError
from .steps import COPIED_BYTES, OBJECTS, Steps, finish, gathered

Buffer = bytes | memoryview

DTYPES: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype("?"),
    "UINT8": np.dtype("u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype("i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    # numpy has no such numbers: these are their bits, the upper half of an FP32's.
    "BF16": np.dtype("<u2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
}
BYTES, BF16 = "BYTES", "BF16"
# The protocol's typed contents have no field for these.
ONLY_RAW = {"FP16", BF16}
# What stands before each element of a raw BYTES tensor.
LENGTH_BYTES = 4
NESTED = (list, tuple, np.ndarray)
# The data of an output that does not leave with its response; told by what it is, not by what it
# holds.
ELSEWHERE: list[Any] = []
# numpy's own limit was 32 for long; deeper JSON is an attack on whoever walks it by recursion.
MAX_DIMENSIONS = 32
# numpy refuses more than 2**63 bytes even where another size is 0 and there is no element.
MAX_ELEMENTS = 2**59


def check_shape(name: str, shape: list[int]) -> None:
    """Check that a shape can be one.

    Raises:
        BadRequestError: it has a negative size, too many sizes, or too large ones.
    """
    if any(size < 0 for size in shape):
        raise BadRequestError(f"Input '{name}' has a negative size in shape {shape}.")
    if len(shape) > MAX_DIMENSIONS:
        raise BadRequestError(f"Input '{name}' has more than {MAX_DIMENSIONS} dimensions.")
    if 0 in shape and prod(size for size in shape if size) > MAX_ELEMENTS:
        raise BadRequestError(f"Input '{name}' has the impossible shape {shape}.")


def decode_raw(name: str, datatype: str, shape: list[int], raw: Buffer) -> Steps[Any]:
    """A raw tensor: a list of bytes for BYTES, else a read-only numpy view of `raw`.

    Raises:
        BadRequestError: its size is not what shape and datatype say, or no array has this shape.
    """
    check_shape(name, shape)
    count = prod(shape)
    if datatype == BYTES:
        return (yield from unpack_bytes(name, shape, raw))
    dtype = DTYPES[datatype]
    if len(raw) != count * dtype.itemsize:
        raise BadRequestError(
            f"Input '{name}' is {datatype} of shape {shape}, so {count * dtype.itemsize} bytes, "
            f"but its raw data has {len(raw)}."
        )
    return np.frombuffer(raw, dtype).reshape(shape)


def most_elements(shape: list[int], raw: Buffer) -> int:
    """How many elements a raw BYTES tensor may have: each has a length before it."""
    return min(prod(shape), len(raw) // LENGTH_BYTES)


def unpack_bytes(name: str, shape: list[int], raw: Buffer) -> Steps[list[bytes]]:
    """The elements of a raw BYTES tensor: each a little-endian uint32 length, then the bytes.

    No more are made than the shape says.

    Raises:
        BadRequestError: there are more or fewer, or a length overruns the data.
    """
    count, elements = prod(shape), list[bytes]()
    at, end = 0, len(raw)
    while at < end and len(elements) < count:
        start = at + LENGTH_BYTES
        size = int.from_bytes(raw[at:start], "little")
        at = start + size
        if start > end or at > end:
            raise BadRequestError(
                f"Input '{name}': the length of raw element {len(elements)} overruns its data."
            )
        if size < COPIED_BYTES:
            elements.append(bytes(raw[start:at]))
        else:
            elements.append((yield from gathered([memoryview(raw)[start:at]])))
        if not len(elements) % OBJECTS:
            yield
    if at < end or len(elements) < count:
        holds = f"more than {count}" if at < end else str(len(elements))
        raise BadRequestError(
            f"Input '{name}' has shape {shape}, but its raw data holds {holds} element(s)."
        )
    return elements


def pack_bytes(elements: Any) -> bytes:
    """A BYTES tensor's elements (bytes or str) in their raw form."""
    if type(elements) is list and len(elements) == 1 and type(elements[0]) is str:  # as tokens come
        data = elements[0].encode()
        return len(data).to_bytes(LENGTH_BYTES, "little") + data
    return b"".join(finish(packed(elements)))


def packed(elements: Any) -> Steps[list[bytes]]:
    """The same, in parts."""
    parts: list[bytes] = []
    size = 0
    for element in flat(elements):
        data = element.encode() if isinstance(element, str) else bytes(element)
        parts += (len(data).to_bytes(4, "little"), data)
        size += len(data)
        if size >= COPIED_BYTES or not len(parts) % (2 * OBJECTS):
            size = 0
            yield
    return parts


def encode_raw(datatype: str, data: Any) -> Any:
    """A tensor's raw form: bytes, or the contiguous array that holds them."""
    if datatype == BYTES:
        return pack_bytes(data)
    return np.ascontiguousarray(data, DTYPES[datatype])


def raw_parts(datatype: str, data: Any) -> Steps[list[Buffer]]:
    """A tensor's raw form in parts; an array is one, and not copied."""
    if datatype == BYTES:
        return list((yield from packed(data)))
    array = np.ascontiguousarray(data, DTYPES[datatype])
    return [array.reshape(-1).view(np.uint8).data] if array.size else []


def as_numbers(datatype: str, data: Any) -> Any:
    """A tensor's data as numbers that JSON can hold: BF16's, from their bits."""
    if datatype != BF16 or not isinstance(data, np.ndarray) or data.dtype.kind == "f":
        return data
    return (data.astype("<u4") << 16).view("<f4")


def flat(data: Any) -> list[Any]:
    """A tensor's elements in row-major order, whatever it is kept in."""
    if isinstance(data, np.ndarray):
        return data.reshape(-1).tolist()
    if not isinstance(data, list | tuple):
        return [data]
    for element in data:
        if isinstance(element, NESTED):
            return [inner for row in data for inner in flat(row)]
    return list(data)
