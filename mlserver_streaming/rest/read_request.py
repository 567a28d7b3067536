"""A request as JSON, and tensors' bytes behind it, to what the core takes."""

from typing import Any

from mlserver.types import InferenceRequest, MetadataTensor

from ..regions.regions import Own
from ..regions.spans import in_regions
from ..settings import LimitSettings
from ..tensors.json_pieces import Rows
from ..tensors.json_requests import attach_rows, decode_request, parse
from ..tensors.steps import Steps
from . import binary
from .binary import BinaryOutputs
from .generate import FlatAnswers, is_flat, unflatten
from .shared_memory import attach_regions
from .usual_request import usual_request

NO_BINARY = BinaryOutputs(all=False, named={})
Understood = tuple[InferenceRequest, BinaryOutputs, FlatAnswers | None]
"""A request, the outputs that it wants as bytes, and its answers if it is flat."""


def read_request(
    body: bytes,
    json_length: str | None,
    limits: LimitSettings,
    declared: list[MetadataTensor] | None,
    own: Own,
) -> Steps[Understood]:
    """The request in a body, as `understand` has it."""
    text, tail = binary.split_body(body, json_length)
    parsed, rows = yield from parse(text, limits)
    return (yield from understand(parsed, rows, tail, limits, declared, own))


def understand(
    parsed: dict[str, Any],
    rows: dict[str, Rows],
    tail: memoryview | None,
    limits: LimitSettings,
    declared: list[MetadataTensor] | None,
    own: Own,
) -> Steps[Understood]:
    """The request that a parsed body is.

    Args:
        rows: what `parse` has not read of it yet.
        tail: the bytes behind it; None where none can be, since other requests are.
        declared: the model's inputs, where the body may be flat.
        own: the caller's regions of shared memory.
    """
    if not (rows or tail) and (usual := usual_request(parsed, limits)) is not None:
        return usual, NO_BINARY, None
    answers: FlatAnswers | None = None
    if declared is not None and is_flat(parsed):
        parsed = unflatten(parsed, declared)
        answers = FlatAnswers.to(parsed)
    yield from attach_rows(parsed, rows, limits, shapeless=answers is not None)
    binary.attach_tensors(parsed, tail)
    yield from attach_regions(parsed, limits, own)
    outputs = BinaryOutputs.take(parsed)
    request = yield from decode_request(parsed, limits)
    if request.outputs:
        request.outputs = in_regions(own, request.outputs)
    return request, outputs, answers
