"""A stream's responses as bytes, and back.

A recording is chunks of up to CHUNK_RESPONSES responses, each chunk for itself: the length of a
JSON head (uint32, little-endian), the head, and the bytes of tensors behind it. No ids: each answer
carries its own request's.
    head      [model name, version, tensors, responses]
    tensor    [name, datatype, shape, parameters], told once for all outputs that are alike
    response  [microseconds, parameters, outputs]
    output    [number of the tensor, data] or [number of the tensor, form, data]
Without a form the data are a list as JSON holds it. The forms are of data that JSON does not hold:
    "float"   a list of floats among which are NaN or infinity; its shape. FP64 behind the head
    "bytes"   a list of byte strings; their lengths. They are behind the head
    "array"   a numpy array; its dtype and shape. Its bytes are behind the head
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Iterator, Sequence
from math import prod
from typing import Any

import numpy as np
import orjson
from mlserver.types import Parameters, ResponseOutput, TensorData

from ..raw_tensors import BYTES, flat
from ..rest_codec import datatype
from .recorded import Recorded, data_of, said_by

LENGTH = struct.Struct("<I")
# Few enough that a chunk takes no turn of the loop to encode, enough that its head says much once.
CHUNK_RESPONSES = 128
# Kinds of numpy's dtypes that are plain bytes.
PLAIN = "biuf"
# What Python holds besides the bytes of a chunk.
CHUNK_BYTES = 64

Chunk = bytes | memoryview


class MalformedError(ValueError):
    """These bytes are no recording."""


class UnstorableError(ValueError):
    """A response has no form that gives the same response back."""


class Recording:
    """A whole stream.

    Attributes:
        size: bytes that it holds.
    """

    __slots__ = ("chunks", "size")

    def __init__(self, chunks: Sequence[Chunk]):
        self.chunks = chunks
        self.size = sum(map(len, chunks)) + CHUNK_BYTES * len(chunks)

    def __iter__(self) -> Iterator[Recorded]:
        """Raises MalformedError where a chunk is none."""
        for chunk in self.chunks:
            yield from decode(chunk)

    async def check(self) -> None:
        """Read it through, giving the loop turns.

        Raises:
            MalformedError
        """
        for chunk in self.chunks:
            for _ in decode(chunk):
                pass
            await asyncio.sleep(0)


async def record(responses: Sequence[Recorded]) -> Recording | None:
    """The recording of a stream, giving the loop turns; None where a response has no such form."""
    chunks = []
    try:
        for first in range(0, len(responses), CHUNK_RESPONSES):
            chunks.append(encode(responses[first : first + CHUNK_RESPONSES]))
            await asyncio.sleep(0)
    except (TypeError, ValueError, OverflowError):  # orjson's errors are TypeErrors
        return None
    return Recording(chunks)


def encode(responses: Sequence[Recorded]) -> bytes:
    """A chunk.

    Raises:
        UnstorableError, TypeError, ValueError, OverflowError: a response has no such form.
    """
    tensors: dict[Any, int] = {}
    tail: list[Any] = []
    name, version = responses[0].model_name, responses[0].model_version
    told = []
    for response in responses:
        if (response.model_name, response.model_version) != (name, version):
            raise UnstorableError("two models in one stream")
        outputs = [_encode_output(output, tensors, tail) for output in response.outputs]
        parameters = response.parameters
        if parameters is not None and orjson.loads(orjson.dumps(parameters)) != parameters:
            raise UnstorableError("parameters without a JSON form")
        told.append([int(response.seconds * 1e6), parameters, outputs])
    described = [[*tensor[:3], _parameters(tensor[3])] for tensor in tensors]
    head = orjson.dumps([name, version, described, told])
    return b"".join([LENGTH.pack(len(head)), head, *tail])


def _encode_output(output: ResponseOutput, tensors: dict[Any, int], tail: list[Any]) -> list[Any]:
    kind: Any = output.datatype
    said = output.parameters
    if not isinstance(kind, str):
        kind = datatype(output)
    described: Any = None
    if said is not None:
        described = said.content_type
        if said.headers or said.model_extra:
            described = orjson.dumps(said_by(said))
    number = tensors.setdefault((output.name, kind, tuple(output.shape), described), len(tensors))
    data = data_of(output)
    is_array = isinstance(data, np.ndarray) and data.dtype.kind in PLAIN
    if kind == BYTES and not is_array:
        if not isinstance(data, list) or list in map(type, data):
            data = flat(data)
        if set(map(type, data)) <= {str}:
            return [number, data]
        raw = [each.encode() if isinstance(each, str) else bytes(each) for each in data]
        tail += raw
        return [number, "bytes", list(map(len, raw))]
    if is_array:
        tail.append(np.ascontiguousarray(data).reshape(-1))
        return [number, "array", [data.dtype.str, data.shape]]
    if not isinstance(data, list):
        raise UnstorableError(f"a {type(data).__name__}")
    if b"null" not in orjson.dumps(data):
        return [number, data]
    array = np.array(data, "<f8")  # JSON has no NaN: orjson writes null
    tail.append(array.reshape(-1))
    return [number, "float", array.shape]


def _parameters(described: str | bytes | None) -> Any:
    """A tensor's parameters, for the head."""
    if isinstance(described, bytes):
        return orjson.loads(described)
    return None if described is None else {"content_type": described}


def decode(chunk: Chunk) -> Iterator[Recorded]:
    """A chunk's responses; arrays are read-only views of it.

    Raises:
        MalformedError
    """
    try:
        yield from _decode(memoryview(chunk))
    except MalformedError:
        raise
    except Exception as error:  # whatever can be wrong with bytes from elsewhere
        raise MalformedError(f"{type(error).__name__}: {error}") from error


def _decode(chunk: memoryview) -> Iterator[Recorded]:
    (length,) = LENGTH.unpack_from(chunk)
    name, version, described, told = orjson.loads(chunk[LENGTH.size : LENGTH.size + length])
    if not isinstance(name, str) or not isinstance(version, str | None):
        raise MalformedError("a model without a name")
    # One `Parameters` for all outputs that are alike.
    tensors = [
        {
            "name": tensor,
            "datatype": kind,
            "shape": shape,
            "parameters": None if parameters is None else Parameters(**parameters),
        }
        for tensor, kind, shape, parameters in described
    ]
    at = LENGTH.size + length
    for microseconds, parameters, outputs in told:
        if type(microseconds) is not int or not isinstance(parameters, dict | None):
            raise MalformedError("no response")
        found = []
        for number, *form, content in outputs:
            data, size = _decode_data(form[0], content, chunk[at:]) if form else (content, 0)
            at += size
            found.append(ResponseOutput.model_validate({**tensors[number], "data": data}))
        yield Recorded(name, version, microseconds / 1e6, parameters, found)
    if at != len(chunk):
        raise MalformedError("bytes that belong to no tensor")


def _decode_data(form: str, content: Any, tail: memoryview) -> tuple[Any, int]:
    """A tensor's data, and how many of the bytes are theirs."""
    if form == "bytes":
        data, at = [], 0
        for length in content:
            if not 0 <= length <= len(tail) - at:
                raise MalformedError("an element that overruns")
            data.append(bytes(tail[at : at + length]))
            at += length
        return data, at
    if form not in ("array", "float"):
        raise MalformedError("an unknown form")
    kind, shape = content if form == "array" else ("<f8", content)
    dtype = np.dtype(kind)
    size = prod(shape) * dtype.itemsize
    if dtype.kind not in PLAIN or not 0 <= size <= len(tail) or any(n < 0 for n in shape):
        raise MalformedError("no array of numbers")
    array = np.frombuffer(tail[:size], dtype).reshape(shape)
    return (TensorData.model_construct(root=array) if form == "array" else array.tolist()), size
