"""A stream whose instance or worker is gone, gone on with here: by its model, from its request on.

A model that says the same each time is asked again, and what was said before is skipped; one with
`resume_from` goes on behind what was said. Of a model that does not say the same each time, the
stream goes on under another id: whoever has heard more than the store holds has heard something
else than is said here, and his place is in the old one only.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

from mlserver import MLModel
from mlserver.types import InferenceRequest, InferenceResponse

from ..errors import LostStreamError
from ..recordings.recorded import Recorded
from ..recordings.recording import encode
from ..streams.answers import One, can_resume, resumed
from ..streams.data_plane import StreamingDataPlane
from .response_log import ResponseLog, restored

# Of the model's settings: whether it answers a request the same each time.
REPEATABLE = "repeatable"
# A response that has more is not looked at again.
COMPARED_BYTES = 64 * 1024


def is_repeatable(model: MLModel) -> bool:
    """Whether a model says the same each time, as its settings have it."""
    parameters = model.settings.parameters
    extra = (parameters and parameters.extra) or {}
    return bool(model.settings.cache_enabled) or extra.get(REPEATABLE) is True


def can_go_on(model: MLModel, request: InferenceRequest | None) -> bool:
    """Whether the answer to a request can be gone on with elsewhere."""
    if request is None:
        return False
    said = request.parameters.model_extra if request.parameters is not None else None
    if said and said.get("sequence_id"):
        return False  # what its model remembers is lost as well
    return can_resume(model) or is_repeatable(model)


def records_of(log: ResponseLog) -> list[Recorded]:
    """What is there of what was said."""
    found: list[Recorded] = []
    while (number := log.first - 1 + len(found)) < log.last:
        found += [Recorded.of(response, 0.0) for response in log.after(number)]
    return found


def rest_of(
    data_plane: StreamingDataPlane,
    model: MLModel,
    request: InferenceRequest,
    version: str | None,
    records: Sequence[Recorded],
    first: int,
) -> AsyncGenerator[InferenceResponse, None]:
    """The responses behind those that were said.

    Args:
        version: as it was asked for.
        records: what was said.
        first: the number of the first of them, from 1.

    Raises:
        LostStreamError: the model says something else this time.
    """
    if can_resume(model) and first == 1:
        said = [restored(record) for record in records]

        def resume(model: Any, requests: Any) -> AsyncGenerator[InferenceResponse, None]:
            return resumed(model, requests, said)

        return data_plane.infer_stream(One(request), model.name, version, answer=resume)
    again = data_plane.infer_stream(One(request), model.name, version)
    return _behind(again, records, first)


async def _behind(
    again: AsyncGenerator[InferenceResponse, None], records: Sequence[Recorded], first: int
) -> AsyncGenerator[InferenceResponse, None]:
    last = first - 1 + len(records)
    number = 0
    async with aclosing(again) as responses:
        async for response in responses:
            number += 1
            if number > last:
                yield response
            elif number >= first and not _is_alike(response, records[number - first]):
                raise LostStreamError(last)
    if number < last:
        raise LostStreamError(last)


def _is_alike(response: InferenceResponse, record: Recorded) -> bool:
    found = Recorded.of(response, 0.0)
    if found.size > COMPARED_BYTES:
        return True
    said = [
        encode([Recorded("", None, 0.0, None, each.outputs)]) if each.outputs else None
        for each in (found, record)
    ]
    return said[0] == said[1]
