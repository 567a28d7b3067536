"""What a store holds of a stream from its beginning on: its head, and the request, to ask again.

The length of the JSON (4 bytes, little-endian), the JSON `[head, {"id": of the request}]`, and the
packed request; null and nothing where that is not kept. The request is a recording's one response:
its tensors are like a response's. Its headers stay here: they hold its caller's keys.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict
from typing import Any

import orjson
from mlserver.types import InferenceRequest, Parameters

from ..models.messages import output, request_input
from ..recordings.packing import pack, unpack
from ..recordings.recorded import Recorded, data_of, said_by
from ..recordings.recording import MalformedError, UnstorableError, decode, encode
from ..tensors.json_codec import datatype
from .head import Head

# A larger one is not kept, and its stream not taken over.
MAX_REQUEST_BYTES = 1024 * 1024
HEADERS = "headers"


def pack_head(head: Head, request: InferenceRequest | None) -> bytes:
    """
    Args:
        request: the only one of the stream; None where there may be others.
    """
    asked, chunk = None, b""
    if request is not None and request.outputs is None:
        with suppress(TypeError, ValueError, OverflowError):
            chunk = _packed(request)
            asked = {"id": request.id}
    text = orjson.dumps([asdict(head), asked])
    return len(text).to_bytes(4, "little") + text + chunk


def unpack_head(packed: bytes) -> tuple[Head, InferenceRequest | None]:
    """
    Raises:
        MalformedError
    """
    try:
        size = int.from_bytes(packed[:4], "little")
        head, asked = orjson.loads(packed[4 : 4 + size])
        request = None if asked is None else _unpacked(asked["id"], memoryview(packed)[4 + size :])
        return Head(**head), request
    except (TypeError, ValueError, KeyError) as error:
        raise MalformedError("no head") from error


def _packed(request: InferenceRequest) -> bytes:
    inputs: list[Any] = request.inputs
    if sum(getattr(data_of(tensor), "nbytes", 0) for tensor in inputs) > MAX_REQUEST_BYTES:
        raise UnstorableError("large")
    outputs = [
        output(tensor.name, datatype(tensor), list(tensor.shape), data_of(tensor))
        for tensor in inputs
    ]
    for each, tensor in zip(outputs, inputs, strict=True):
        each.parameters = tensor.parameters
    said = said_by(request.parameters)
    if said is not None:
        said.pop(HEADERS, None)
    packed = pack([encode([Recorded("", None, 0.0, said, outputs, id=request.id)])])
    if len(packed) > MAX_REQUEST_BYTES:
        raise UnstorableError("large")
    return packed


def _unpacked(request_id: str | None, packed: memoryview) -> InferenceRequest:
    [chunk] = unpack(packed)
    [record] = decode(chunk)
    inputs = [
        request_input(
            tensor.name, datatype(tensor), tensor.shape, data_of(tensor), tensor.parameters
        )
        for tensor in record.outputs
    ]
    said: Any = record.parameters
    parameters = None if said is None else Parameters(**said)
    return InferenceRequest(id=request_id, parameters=parameters, inputs=inputs)
