"""A large response as JSON, written in steps; a small one is `json_codec.encode_response`."""

import base64
import codecs
from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson
from mlserver.types import InferenceResponse, TensorData

from .json_codec import (
    BASE64,
    BINARY_SIZE,
    DUMPS,
    SHORT_BYTES,
    as_json,
    datatype,
    encode_response,
    head_of,
    is_large,
    parameters_of,
)
from .raw import BYTES, ELSEWHERE, NESTED, as_numbers, flat
from .steps import COPIED_BYTES, OBJECTS, Steps

# Numbers in a step: a millisecond.
NUMBERS = 8192


def written(
    response: InferenceResponse, sizes: Mapping[int, int] | None = None
) -> Steps[list[bytes]]:
    """A response's JSON in parts, as `json_codec.encode_response` has it."""
    if not is_large(response):
        return [encode_response(response, sizes)]
    parts = [orjson.dumps({**head_of(response), "outputs": []}, option=DUMPS, default=as_json)]
    parts[0] = parts[0].removesuffix(b"]}")
    for index, output in enumerate(response.outputs):
        parts.append(b"," if index else b"")
        data = output.data.root if isinstance(output.data, TensorData) else output.data
        kind = datatype(output)
        found: dict[str, Any] = {"name": output.name, "shape": output.shape, "datatype": kind}
        parameters = parameters_of(output.parameters) if output.parameters is not None else {}
        size = (sizes or {}).get(index)
        content: list[bytes] = []
        if size is not None:
            parameters = {**parameters, BINARY_SIZE: size}
        elif data is ELSEWHERE:
            pass
        elif kind == BYTES:
            content, encoded = yield from written_text(flat(data))
            if encoded:
                parameters = {**parameters, "content_type": BASE64}
        else:
            content = yield from written_numbers(as_numbers(kind, data))
        if parameters:
            found["parameters"] = parameters
        head = orjson.dumps(found, option=DUMPS, default=as_json)
        parts += [head[:-1], b',"data":', *content, b"}"] if content else [head]
    parts.append(b"]}")
    return parts


def written_numbers(data: Any) -> Steps[list[bytes]]:
    """A list or array of numbers as JSON, nested as it is."""
    if isinstance(data, np.ndarray):
        if data.size <= NUMBERS or not data.ndim:
            return [_dumped(data)]
        together = NUMBERS * len(data) // data.size
    elif isinstance(data, list | tuple):
        nested = bool(data) and isinstance(data[0], NESTED)
        if not nested and len(data) <= NUMBERS:
            return [_dumped(data)]
        together = 0 if nested else NUMBERS
    else:
        return [_dumped(data)]
    parts: list[bytes] = []
    if together:
        for at in range(0, len(data), together):
            parts.append((b"," if at else b"[") + _dumped(data[at : at + together])[1:-1])
            yield
    else:
        for at, row in enumerate(data):
            parts.append(b"," if at else b"[")
            parts += yield from written_numbers(row)
            yield
    parts.append(b"]")
    return parts


def written_text(elements: list[Any]) -> Steps[tuple[list[bytes], bool]]:
    """BYTES elements as a JSON list of strings, and whether base64 was needed for them."""
    try:
        return (yield from _strings(elements, False)), False
    except UnicodeDecodeError:
        return (yield from _strings(elements, True)), True


def written_string(element: str | bytes, as_base64: bool = False) -> Steps[list[bytes]]:
    """One string as JSON.

    Raises:
        UnicodeDecodeError: it is not UTF-8.
    """
    parts = [b'"']
    decode = codecs.getincrementaldecoder("utf-8")().decode
    if as_base64 and isinstance(element, str):
        element = element.encode()
    # A multiple of 3, which base64 makes 4 of.
    for at in range(0, len(element), 3 * SHORT_BYTES):
        piece: Any = element[at : at + 3 * SHORT_BYTES]
        if as_base64:
            parts.append(base64.b64encode(piece))
        else:
            text = (
                piece if isinstance(piece, str) else decode(piece, at + len(piece) == len(element))
            )
            parts.append(orjson.dumps(text)[1:-1])
        yield
    parts.append(b'"')
    return parts


def _strings(elements: list[Any], as_base64: bool) -> Steps[list[bytes]]:
    parts: list[bytes] = []
    some: list[Any] = []
    size = 0
    for element in elements:
        if isinstance(element, str | bytes) and len(element) > SHORT_BYTES:
            _add(parts, some)
            parts += (b",", *(yield from written_string(element, as_base64)))
            continue
        if as_base64:
            element = element.encode() if isinstance(element, str) else element
            element = base64.b64encode(element).decode()
        elif isinstance(element, bytes):
            element = element.decode()
        some.append(element)
        size += len(element) if isinstance(element, str) else 0
        if len(some) >= OBJECTS or size >= COPIED_BYTES:
            _add(parts, some)
            size = 0
            yield
    _add(parts, some)
    # Each part began with a comma.
    return [b"[", parts[0][1:], *parts[1:], b"]"] if parts else [b"[]"]


def _add(parts: list[bytes], elements: list[Any]) -> None:
    if elements:
        parts.append(b"," + _dumped(elements)[1:-1])
        elements.clear()


def _dumped(value: Any) -> bytes:
    if isinstance(value, np.ndarray):
        value = np.ascontiguousarray(value, value.dtype.newbyteorder("="))
    return orjson.dumps(value, option=DUMPS, default=as_json)
