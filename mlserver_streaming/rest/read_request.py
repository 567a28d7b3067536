"""A request as JSON, and tensors' bytes behind it, to what the core takes."""

from mlserver.types import InferenceRequest, MetadataTensor

from ..regions.regions import Own
from ..regions.spans import in_regions
from ..settings import LimitSettings
from ..tensors.json_requests import attach_rows, decode_request, parse
from ..tensors.steps import Steps
from . import binary
from .binary import BinaryOutputs
from .generate import FlatAnswers, is_flat, unflatten
from .shared_memory import attach_regions


def read_request(
    body: bytes,
    json_length: str | None,
    limits: LimitSettings,
    declared: list[MetadataTensor] | None,
    own: Own,
    is_alone: bool = True,
) -> Steps[tuple[InferenceRequest, BinaryOutputs, FlatAnswers | None]]:
    """The request in a body, the outputs that it wants as bytes, and its answers if it is flat.

    Args:
        declared: the model's inputs, where the body may be flat.
        own: the caller's regions of shared memory.
        is_alone: whether tensors' bytes may follow it; not where other requests do.
    """
    text, tail = binary.split_body(body, json_length)
    parsed, rows = yield from parse(text, limits)
    answers: FlatAnswers | None = None
    if declared is not None and is_flat(parsed):
        parsed = unflatten(parsed, declared)
        answers = FlatAnswers.to(parsed)
    yield from attach_rows(parsed, rows, limits, shapeless=answers is not None)
    binary.attach_tensors(parsed, tail if is_alone else None)
    yield from attach_regions(parsed, limits, own)
    outputs = BinaryOutputs.take(parsed)
    request = yield from decode_request(parsed, limits)
    if request.outputs:
        request.outputs = in_regions(own, request.outputs)
    return request, outputs, answers
