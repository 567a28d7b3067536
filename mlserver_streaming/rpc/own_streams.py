"""A caller's streams that outlive their connections, listed and cancelled over gRPC: a
`ModelStreamInfer` without requests, whose metadata say what is wanted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlserver.types import InferenceResponse, Parameters

from ..errors import BadRequestError, shown
from ..resume.position import STREAM
from ..resume.run import Run
from ..resume.runs import Runs
from ..resume.sharing import Elsewhere

# Call metadata: a list is wanted, whatever it says; and the stream that is to end.
LIST, CANCEL = "x-resume-list", "x-resume-cancel"


def is_wanted(metadata: Mapping[str, Any]) -> bool:
    """Whether a call is about streams, and asks no model."""
    return LIST in metadata or CANCEL in metadata


async def answers(runs: Runs, metadata: Mapping[str, Any]) -> list[InferenceResponse]:
    """Do what a call's metadata say: a response for each stream, none for one that is cancelled.

    Raises:
        BadRequestError: they name no stream.
        NoSuchStreamError: the caller has none of this id.
        StoreLostError: the streams of other instances cannot be known now.
    """
    if (wanted := metadata.get(CANCEL)) is not None:
        found = STREAM.fullmatch(str(wanted).strip())
        if found is None:
            raise BadRequestError(
                f"'{shown(str(wanted))}' is no stream's id; send that of one of your streams, or "
                f"the 'resume_id' of a response ('{LIST}' lists them)."
            )
        (await runs.find(found[1])).cancel()
        return []
    return [_about(run) for run in await runs.own()]


def _about(run: Run | Elsewhere) -> InferenceResponse:
    left = run.seconds_left
    parameters: dict[str, Any] = {
        "state": run.state,
        "responses": run.log.last,
        "first_response": run.log.first,
        "bytes": run.log.size,
        **({} if left is None else {"seconds_left": round(left, 3)}),
    }
    return InferenceResponse.model_construct(
        model_name=run.head.model,
        model_version=run.head.served,
        id=run.head.id,
        parameters=Parameters(**parameters),
        outputs=[],
    )
