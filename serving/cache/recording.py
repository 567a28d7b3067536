"""A stream's responses as bytes, and back.

Each response is a part: the length of a JSON head (uint32, little-endian), the head, and the bytes
of its tensors behind it. No ids: each answer carries its own request's.
    head    [model name, version, microseconds, parameters, outputs]
    output  [name, datatype, shape, parameters, form, data]
Forms of a tensor's data:
    "json"    a list, as JSON holds it; in the head
    "float"   a list of floats that JSON has no form for (NaN, infinity); FP64 behind the head
    "bytes"   a list of byte strings; their lengths in the head, they behind it
    "array"   a numpy array; its dtype and shape in the head, its bytes behind it
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import orjson
from mlserver.types import InferenceResponse, Parameters, ResponseOutput, TensorData

from ..raw_tensors import BYTES, flat
from ..rest_codec import datatype
from .wishes import CACHE

LENGTH = struct.Struct("<I")
# Kinds of numpy's dtypes that are plain bytes.
PLAIN = "biuf"
# What Python holds besides the bytes of each part.
OVERHEAD_BYTES = 64

Part = bytes | memoryview


class MalformedError(ValueError):
    """These bytes are no recording."""


class UnstorableError(ValueError):
    """This response has no form that gives the same response back."""


@dataclass(slots=True)
class Recorded:
    """One response without its id; what is in it is shared by all who get it.

    Attributes:
        seconds: from the beginning of the stream.
        part: its bytes; None where it has no such form.
    """

    model_name: str
    model_version: str | None
    seconds: float
    parameters: dict[str, Any]
    outputs: list[ResponseOutput]
    part: Part | None = None

    @classmethod
    def of(cls, response: InferenceResponse, seconds: float) -> Recorded:
        """Take a model's response down."""
        given = response.parameters
        parameters: dict[str, Any] = {}
        if given is not None:
            parameters = dict(given.model_extra or {})
            if given.content_type is not None:
                parameters["content_type"] = given.content_type
            if given.headers is not None:
                parameters["headers"] = given.headers
        found = cls(
            response.model_name, response.model_version, seconds, parameters, list(response.outputs)
        )
        try:
            found.part = encode(found)
        except (TypeError, ValueError, OverflowError):
            found.part = None
        if any(isinstance(_root(output), np.ndarray) for output in found.outputs):
            # A model may use its arrays again for the next response; these are heard later.
            found.outputs = (
                decode(found.part).outputs
                if found.part is not None
                else [output.model_copy(deep=True) for output in found.outputs]
            )
        return found

    @property
    def size(self) -> int:
        """Bytes that it holds, about."""
        return OVERHEAD_BYTES + (len(self.part) if self.part is not None else 0)

    def response(self, request_id: str | None, mark: str) -> InferenceResponse:
        """The response to a request, marked as what the cache had to do with it."""
        return InferenceResponse(
            model_name=self.model_name,
            model_version=self.model_version,
            id=request_id,
            parameters=Parameters(**{**self.parameters, CACHE: mark}),
            outputs=self.outputs,
        )


class Recording:
    """A whole stream."""

    __slots__ = ("parts", "size")

    def __init__(self, parts: Sequence[Part]):
        self.parts = parts
        self.size = sum(map(len, parts)) + OVERHEAD_BYTES * len(parts)

    def __iter__(self) -> Iterator[Recorded]:
        """Raises MalformedError where a part is none."""
        return map(decode, self.parts)


def encode(recorded: Recorded) -> bytes:
    """A response's part.

    Raises:
        UnstorableError, TypeError, ValueError, OverflowError: it has no such form.
    """
    tail: list[Any] = []
    outputs = [_encode_output(output, tail) for output in recorded.outputs]
    head = orjson.dumps(
        [
            recorded.model_name,
            recorded.model_version,
            int(recorded.seconds * 1e6),
            recorded.parameters,
            outputs,
        ]
    )
    if (
        recorded.parameters
        and orjson.loads(orjson.dumps(recorded.parameters)) != recorded.parameters
    ):
        raise UnstorableError("its parameters have no JSON form")
    return b"".join([LENGTH.pack(len(head)), head, *tail])


def _encode_output(output: ResponseOutput, tail: list[Any]) -> list[Any]:
    kind = datatype(output)
    data = _root(output)
    parameters = None
    if output.parameters is not None:
        parameters = output.parameters.model_dump(exclude_none=True)
    form: str
    content: Any
    if isinstance(data, np.ndarray) and data.dtype.kind in PLAIN:
        form, content = "array", [data.dtype.str, list(data.shape)]
        tail.append(np.ascontiguousarray(data).reshape(-1))
    elif kind == BYTES:
        elements = flat(data)
        if set(map(type, elements)) <= {str}:
            form, content = "json", elements
        else:
            raw = [each.encode() if isinstance(each, str) else bytes(each) for each in elements]
            form, content = "bytes", [len(each) for each in raw]
            tail += raw
    elif isinstance(data, list):
        form, content = "json", data
        # JSON has no NaN: orjson writes null.
        if b"null" in orjson.dumps(data):
            array = np.array(data, "<f8")
            form, content = "float", list(array.shape)
            tail.append(array.reshape(-1))
    else:
        raise UnstorableError(f"a {type(data).__name__}")
    return [output.name, kind, list(output.shape), parameters, form, content]


def _root(output: ResponseOutput) -> Any:
    return output.data.root if isinstance(output.data, TensorData) else output.data


def decode(part: Part) -> Recorded:
    """A response from its part; arrays are read-only views of it.

    Raises:
        MalformedError
    """
    try:
        (length,) = LENGTH.unpack_from(part)
        tail = memoryview(part)[LENGTH.size + length :]
        head = orjson.loads(memoryview(part)[LENGTH.size : LENGTH.size + length])
        name, version, microseconds, parameters, described = head
        outputs = []
        at = 0
        for output in described:
            found, size = _decode_output(output, tail[at:])
            at += size
            outputs.append(found)
        if at != len(tail):
            raise MalformedError("bytes that belong to no tensor")
        recorded = Recorded(name, version, microseconds / 1e6, parameters, outputs, part)
        if not (isinstance(name, str) and isinstance(version, str | None)):
            raise MalformedError("no names")
        if type(microseconds) is not int or not isinstance(parameters, dict):
            raise MalformedError("no response")
    except MalformedError:
        raise
    except Exception as error:  # whatever can be wrong with bytes from elsewhere
        raise MalformedError(f"{type(error).__name__}: {error}") from error
    return recorded


def _decode_output(output: list[Any], tail: memoryview) -> tuple[ResponseOutput, int]:
    """An output, and how many of the bytes are its."""
    name, kind, shape, parameters, form, content = output
    data: Any
    size = 0
    if form == "json":
        data = content
    elif form == "bytes":
        data = []
        for length in content:
            end = size + length
            if length < 0 or end > len(tail):
                raise MalformedError("a tensor that overruns")
            data.append(bytes(tail[size:end]))
            size = end
    elif form in ("array", "float"):
        dtype = np.dtype("<f8" if form == "float" else content[0])
        dimensions = content if form == "float" else content[1]
        if dtype.kind not in PLAIN or any(type(n) is not int or n < 0 for n in dimensions):
            raise MalformedError("no array of numbers")
        size = prod(dimensions) * dtype.itemsize
        if size > len(tail):
            raise MalformedError("a tensor that overruns")
        array = np.frombuffer(tail[:size], dtype).reshape(dimensions)
        data = TensorData.model_construct(root=array) if form == "array" else array.tolist()
    else:
        raise MalformedError("an unknown form")
    parts = {"name": name, "shape": shape, "datatype": kind, "data": data}
    if parameters is not None:
        parts["parameters"] = parameters
    return ResponseOutput.model_validate(parts), size
