"""A stream's responses as bytes, and back.

A recording is chunks of up to CHUNK_RESPONSES responses, each chunk for itself: a head in JSON, and
the bytes of tensors beside it, which are not copied.
    head      [model name, version, tensors, responses] or, where they have ids, [..., ids]
    ids       one for all, or a list. Without: each answer carries its own request's
    tensor    [name, datatype, shape, parameters], told once for all outputs that are alike
    response  [microseconds, parameters, outputs]
    output    [number of the tensor, data] or [number of the tensor, form, what it takes]
Where each response is one text of one tensor, at no time that is told, its responses are
    [form, texts, parameters]
with the form "text" or, of texts that the model gave as bytes, "bytes"; and the parameters of those
that have any, by the response's index (texts.py).
Without a form the data are a list as JSON holds it. The forms are of data that JSON does not hold:
    "bytes"   a list of byte strings; how many. Each is one of the chunk's bytes, in order
    "array"   a numpy array; its dtype and shape. The next of the chunk's bytes
    "float"   a list of floats among which are NaN or infinity; its shape. FP64 likewise
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import orjson
from mlserver.types import Parameters, ResponseOutput, TensorData

from ..tensors.json_codec import datatype
from ..tensors.raw import BYTES, flat
from .recorded import Recorded, data_of, said_by
from .texts import Texts

# Few enough that a chunk takes no turn of the loop to encode, enough that its head says much once.
CHUNK_RESPONSES = 128
# Kinds of numpy's dtypes that are plain bytes.
PLAIN = "biuf"
# What Python holds besides the bytes of a chunk, and of each tensor.
CHUNK_BYTES, OBJECT_BYTES = 256, 64

Bytes = bytes | memoryview


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some responses: the head, and the bytes that it speaks of."""

    head: Bytes
    tensors: Sequence[Bytes]

    @property
    def size(self) -> int:
        held = sum(map(len, self.tensors)) + OBJECT_BYTES * len(self.tensors)
        return CHUNK_BYTES + len(self.head) + held


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
        self.size = sum(chunk.size for chunk in chunks)

    def __iter__(self) -> Iterator[Recorded]:
        """Raises MalformedError where a chunk is none."""
        for chunk in self.chunks:
            yield from decode(chunk)

    async def check(self) -> None:
        """Read it through, giving the loop turns.

        Raises:
            MalformedError
        """
        for number, chunk in enumerate(self.chunks):
            if number:
                await asyncio.sleep(0)
            for _ in decode(chunk):
                pass


async def record(responses: Sequence[Recorded]) -> Recording | None:
    """The recording of a stream, giving the loop turns; None where a response has no such form."""
    chunks = []
    try:
        for first in range(0, len(responses), CHUNK_RESPONSES):
            if first:
                await asyncio.sleep(0)
            chunks.append(encode(responses[first : first + CHUNK_RESPONSES]))
    except (TypeError, ValueError, OverflowError):  # orjson's errors are TypeErrors
        return None
    return Recording(chunks)


def encode(responses: Sequence[Recorded]) -> Chunk:
    """A chunk.

    Raises:
        UnstorableError, TypeError, ValueError, OverflowError: a response has no such form.
    """
    tail: list[Bytes] = []
    name, version = responses[0].model_name, responses[0].model_version
    told: list[list[Any]] = []
    alike = Alike()
    for response in responses:
        if (response.model_name, response.model_version) != (name, version):
            raise UnstorableError("two models in one stream")
        if response.parameters is None and len(response.outputs) == 1:
            # Token after token: this is all that there is of most.
            output = response.outputs[0]
            data = data_of(output)
            if type(data) is list and len(data) == 1 and type(data[0]) is str:
                told.append([int(response.seconds * 1e6), None, [[alike.number(output), data]]])
                continue
        outputs = [_encode_output(output, alike, tail) for output in response.outputs]
        parameters = response.parameters
        if parameters is not None and orjson.loads(orjson.dumps(parameters)) != parameters:
            raise UnstorableError("parameters without a JSON form")
        told.append([int(response.seconds * 1e6), parameters, outputs])
    described = [[*tensor[:3], _parameters(tensor[3])] for tensor in alike.tensors]
    head: list[Any] = [name, version, described, told]
    ids = {response.id for response in responses}
    if ids != {None}:
        head.append(ids.pop() if len(ids) == 1 else [response.id for response in responses])
    # A copy: orjson's own has room for more, and this is kept.
    return Chunk(bytes(memoryview(orjson.dumps(head))), tail)


class Alike:
    """The tensors that a chunk tells once."""

    __slots__ = ("_last", "_number", "tensors")

    def __init__(self) -> None:
        self.tensors: dict[Any, int] = {}
        self._last: ResponseOutput | None = None
        self._number = 0

    def number(self, output: ResponseOutput) -> int:
        """The number of the tensor that an output is one of."""
        last, said = self._last, output.parameters
        if (
            last is not None
            and said is last.parameters
            and output.name == last.name
            and output.shape == last.shape
            and output.datatype == last.datatype
        ):
            return self._number
        described: Any = None
        if said is not None:
            described = said.content_type
            if said.headers or said.model_extra:
                described = orjson.dumps(said_by(said))
        tensor = output.name, datatype(output), tuple(output.shape), described
        self._last, self._number = output, self.tensors.setdefault(tensor, len(self.tensors))
        return self._number


def _encode_output(output: ResponseOutput, alike: Alike, tail: list[Bytes]) -> list[Any]:
    number = alike.number(output)
    kind: Any = output.datatype
    if not isinstance(kind, str):
        kind = datatype(output)
    data = data_of(output)
    is_array = isinstance(data, np.ndarray) and data.dtype.kind in PLAIN
    if kind == BYTES and not is_array:
        if not isinstance(data, list) or list in map(type, data):
            data = flat(data)
        if set(map(type, data)) <= {str}:
            return [number, data]
        raw = [each.encode() if isinstance(each, str) else bytes(each) for each in data]
        tail += raw
        return [number, "bytes", len(raw)]
    if is_array:
        # Nobody else's: recorded.py has copied it.
        tail.append(np.ascontiguousarray(data).reshape(-1).data.cast("B"))
        return [number, "array", [data.dtype.str, data.shape]]
    if not isinstance(data, list):
        raise UnstorableError(f"a {type(data).__name__}")
    if b"null" not in orjson.dumps(data):
        return [number, data]
    array = np.array(data, "<f8")  # JSON has no NaN: orjson writes null
    tail.append(array.reshape(-1).data.cast("B"))
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
        yield from _decode(chunk)
    except MalformedError:
        raise
    except Exception as error:  # whatever can be wrong with bytes from elsewhere
        raise MalformedError(f"{type(error).__name__}: {error}") from error


def _decode(chunk: Chunk) -> Iterator[Recorded]:
    head = orjson.loads(chunk.head)
    if (texts := Texts.read(head)) is not None:
        if chunk.tensors:
            raise MalformedError("bytes that belong to no tensor")
        for index, response in enumerate(texts):
            said, outputs = texts.said.get(index), response.outputs
            yield Recorded(*texts.like[:2], 0.0, said, outputs, id=response.id)
        return
    name, version, described, told, *said = head
    if not isinstance(name, str) or not isinstance(version, str | None):
        raise MalformedError("a model without a name")
    [ids] = said or [None]
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
    if not isinstance(ids, list):
        ids = [ids] * len(told)
    at = 0
    for (microseconds, parameters, outputs), id in zip(told, ids, strict=True):
        if type(microseconds) is not int or not isinstance(parameters, dict | None):
            raise MalformedError("no response")
        if not isinstance(id, str | None):
            raise MalformedError("no id")
        found = []
        for number, *form, content in outputs:
            data: Any = content
            if form:
                count = content if form == ["bytes"] else 1
                taken = chunk.tensors[at : at + count]
                if len(taken) != count:
                    raise MalformedError("bytes that are not there")
                data = _decode_data(form[0], content, taken)
                at += count
            found.append(ResponseOutput.model_validate({**tensors[number], "data": data}))
        yield Recorded(name, version, microseconds / 1e6, parameters, found, id=id)
    if at != len(chunk.tensors):
        raise MalformedError("bytes that belong to no tensor")


def _decode_data(form: str, content: Any, taken: Sequence[Bytes]) -> Any:
    if form == "bytes":
        return [bytes(each) for each in taken]  # bytes are not copied
    if form not in ("array", "float"):
        raise MalformedError("an unknown form")
    kind, shape = content if form == "array" else ("<f8", content)
    dtype = np.dtype(kind)
    if dtype.kind not in PLAIN or prod(shape) * dtype.itemsize != len(taken[0]):
        raise MalformedError("no array of numbers")
    array = np.frombuffer(taken[0], dtype).reshape(shape)
    if form == "float":
        return array.tolist()
    array.flags.writeable = False
    return TensorData.model_construct(root=array)
