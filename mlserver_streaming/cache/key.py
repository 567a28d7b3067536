"""Which question a request asks: the same one, over any protocol, has the same key.

A key is a digest: nothing of the question, the model or the caller can be read from it.
"""

import hashlib
import json
from collections.abc import Iterable
from typing import Any

import numpy as np
from mlserver.types import InferenceRequest, TensorData

from ..tensors.json_codec import datatype
from ..tensors.raw import BYTES, DTYPES, flat

# Of the keys' form, and of what they are made of: another version finds nothing of this one.
VERSION = b"stream-cache-1"
# What a request says to the service, not to the model.
NOT_ASKED = frozenset(
    {
        "priority",
        "timeout",
        "binary_data_output",
        "triton_enable_empty_final_response",
        "headers",
    }
)
# A tensor's or a wanted output's parameters that say how it travels.
OF_THE_WIRE = frozenset({"binary_data", "binary_data_size"})
TEXT = "str"
# From here on, a question is digested away from the event loop: it takes a millisecond.
LARGE_BYTES = 1024 * 1024
# What an element of a list takes, about.
ELEMENT_BYTES = 64

PREDICT, STREAM = b"predict", b"stream"


def key_of(
    request: InferenceRequest,
    identity: bytes,
    kind: bytes,
    caller: str,
    ignored: Iterable[str] = (),
) -> str | None:
    """The key of a request's answer; None where the request has no form that could be compared.

    Args:
        identity: which model answers.
        kind: PREDICT or STREAM, the way in which it is asked.
        caller: whose answers are kept apart, by identity; empty where they are not.
        ignored: names of parameters that do not change the answer.
    """
    digest = hashlib.sha256()

    def add(part: Any) -> None:
        # Each with its length, so that no two lists of parts read the same.
        size = part.nbytes if isinstance(part, np.ndarray) else len(part)
        digest.update(b"%d:" % size)
        digest.update(part)

    try:
        for part in (VERSION, identity, kind, caller.encode()):
            add(part)
        add(_json(_asked(request, frozenset(ignored))))
        for tensor in request.inputs:
            kind_of = datatype(tensor)
            add(_json([tensor.name, kind_of, list(tensor.shape), _described(tensor, kind_of)]))
            for element in _raw(kind_of, tensor.data):
                add(element)
    except (TypeError, ValueError, OverflowError):
        # An array of objects, a number past its datatype, half a character: the model will say
        # what it thinks of it.
        return None
    return digest.hexdigest()


def is_large(request: InferenceRequest) -> bool:
    """Whether digesting a request holds the event loop up."""
    size = 0
    for tensor in request.inputs:
        data = tensor.data.root if isinstance(tensor.data, TensorData) else tensor.data
        if isinstance(data, np.ndarray):
            size += data.nbytes
        elif isinstance(data, list):
            size += ELEMENT_BYTES * len(data)
            size += sum(len(each) for each in data if isinstance(each, bytes | str | list))
    return size >= LARGE_BYTES


def _asked(request: InferenceRequest, ignored: frozenset[str]) -> list[Any]:
    """The parameters and the wanted outputs that are part of the question."""
    parameters: dict[str, Any] = {}
    if request.parameters is not None:
        hidden = NOT_ASKED | ignored
        given = request.parameters.model_extra or {}
        parameters = {name: value for name, value in given.items() if name not in hidden}
        if request.parameters.content_type is not None:
            parameters["content_type"] = request.parameters.content_type
    outputs = [[output.name, _parameters(output)] for output in request.outputs or []]
    return [parameters, outputs]


def _described(tensor: Any, kind: str) -> dict[str, Any]:
    """A tensor's parameters. That BYTES are text goes without saying."""
    found = _parameters(tensor)
    if kind == BYTES and found.get("content_type") == TEXT:
        del found["content_type"]
    return found


def _parameters(owner: Any) -> dict[str, Any]:
    if owner.parameters is None:
        return {}
    given = owner.parameters.model_extra or {}
    found = {name: value for name, value in given.items() if name not in OF_THE_WIRE}
    if owner.parameters.content_type is not None:
        found["content_type"] = owner.parameters.content_type
    return found


def _json(value: Any) -> bytes:
    # The standard library's: it writes NaN, large integers and half characters, each in a form of
    # its own.
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _raw(kind: str, data: Any) -> list[Any]:
    """A tensor's data as bytes, whatever they came as: each element of BYTES, or all at once."""
    root = data.root if isinstance(data, TensorData) else data
    if kind == BYTES:
        return [each.encode() if isinstance(each, str) else bytes(each) for each in flat(root)]
    return [np.ascontiguousarray(root, DTYPES[kind]).reshape(-1)]
