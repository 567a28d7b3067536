"""V2 tensors <-> bytes, str, numpy. Pure functions; errors name the tensor and what to change."""

import base64
import binascii
from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
from mlserver.types import RequestInput, ResponseOutput, TensorData

from .errors import ContentError, RequestError
from .messages import output

BASE64 = "base64"
TEXT = "str"


def content_type(tensor: RequestInput | ResponseOutput) -> str | None:
    """The tensor's `content_type` parameter."""
    return tensor.parameters.content_type if tensor.parameters else None


def elements(tensor: RequestInput | ResponseOutput) -> list[Any]:
    """All elements of a tensor, row-major, nesting undone.

    Raises:
        RequestError: their number is not the product of the shape.
    """
    data = tensor.data.root if isinstance(tensor.data, TensorData) else tensor.data
    flat = data.reshape(-1).tolist() if isinstance(data, np.ndarray) else _flattened(data)
    shape = list(tensor.shape)
    if any(size < 0 for size in shape) or prod(shape) != len(flat):
        raise RequestError(
            f"Input '{tensor.name}' has shape {shape}, but its data holds {len(flat)} element(s); "
            "send as many elements as the shape says."
        )
    return flat


def byte_elements(tensor: RequestInput | ResponseOutput) -> list[bytes]:
    """The elements of a BYTES tensor as bytes: base64 undone when its `content_type` says so.

    Raises:
        RequestError: an element is neither text nor bytes, or shape and data disagree.
        ContentError: an element announced as base64 is not.
    """
    decode = content_type(tensor) == BASE64
    found = []
    for index, element in enumerate(elements(tensor)):
        data = _as_bytes(tensor.name, index, element)
        if decode:
            undone = from_base64(data)
            if undone is None:
                raise ContentError(
                    f"Element {index} of input '{tensor.name}' is not base64 text, though its "
                    "content_type says so."
                )
            data = undone
        found.append(data)
    return found


def text_elements(tensor: RequestInput | ResponseOutput) -> list[str]:
    """The elements of a BYTES tensor as text, whether they came as text, base64 or raw bytes.

    Raises:
        ContentError: an element is not UTF-8 text.
    """
    data = tensor.data.root if isinstance(tensor.data, TensorData) else tensor.data
    if type(data) is list and len(data) == 1 and tensor.shape == [1]:
        # One text, as most prompts are, needs no looking at: nothing is wrong with ASCII.
        text = data[0]
        if type(text) is str and text.isascii() and content_type(tensor) != BASE64:
            return [text]
    found = []
    for index, data in enumerate(byte_elements(tensor)):
        try:
            found.append(data.decode())
        except UnicodeDecodeError as error:
            raise ContentError(
                f"Element {index} of input '{tensor.name}' is not UTF-8 text "
                f"(byte {error.start} is 0x{data[error.start]:02x}); encode it as UTF-8."
            ) from error
    return found


def is_placeholder(tensor: RequestInput) -> bool:
    """Whether a BYTES tensor stands where a client must send one but has nothing to send.

    Triton's sample client sends the integer 1, which arrives as its digits.
    """
    return all(element in (b"", "", b"0", "0", b"1", "1", 0, 1) for element in elements(tensor))


def from_base64(data: bytes) -> bytes | None:
    """The bytes behind base64 text, or None where `data` is not base64 (line breaks are fine)."""
    try:
        return base64.b64decode(b"".join(data.split()), validate=True)
    except binascii.Error:
        return None


def bytes_output(
    name: str, data: Sequence[str | bytes], content_type: str | None = None
) -> ResponseOutput:
    """A BYTES [n] tensor."""
    return output(name, "BYTES", [len(data)], list(data), content_type)


def _flattened(data: Any) -> list[Any]:
    if not isinstance(data, list | tuple):
        return [data]
    if not any(isinstance(element, list | tuple) for element in data):
        return list(data)
    return [element for row in data for element in _flattened(row)]


def _as_bytes(name: str, index: int, element: object) -> bytes:
    if isinstance(element, bytes):
        return element
    if isinstance(element, str):
        try:
            return element.encode()
        except UnicodeEncodeError as error:  # a lone surrogate, which JSON can carry
            raise ContentError(
                f"Element {index} of input '{name}' is not valid Unicode text."
            ) from error
    raise RequestError(
        f"Element {index} of input '{name}' is a {type(element).__name__}, not text or bytes; "
        "BYTES tensors hold strings."
    )
