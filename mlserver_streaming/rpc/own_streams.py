"""A caller's streams that outlive their connections, listed and cancelled over gRPC: a
`ModelStreamInfer` without requests, whose metadata say what is wanted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlserver.types import InferenceResponse, Parameters

from ..errors import BadRequestError, shown
from ..resume.elsewhere import Elsewhere
from ..resume.position import STREAM
from ..resume.run import Run
from ..resume.runs import Runs

# Call metadata: a list is wanted, whatever it says; and the stream that is to end.
LIST, CANCEL = "x-resume-list", "x-resume-cancel"
# Of a list that lacks what other instances have, since the store does not answer.
PARTIAL = (("x-streams-partial", "true"),)


def is_wanted(metadata: Mapping[str, Any]) -> bool:
    """Whether a call is about streams, and asks no model."""
    return LIST in metadata or CANCEL in metadata


async def cancel(runs: Runs, stream: str) -> None:
    """End a stream, and the work for it.

    Args:
        stream: its id, or a place in it.

    Raises:
        BadRequestError: it is neither.
        NoSuchStreamError: the caller has none of this id.
        StoreLostError: whether another instance has it cannot be known now.
    """
    found = STREAM.fullmatch(stream.strip())
    if found is None:
        raise BadRequestError(
            f"'{shown(stream)}' is no stream's id; send that of one of your streams, or the "
            f"'resume_id' of a response ('{LIST}' lists them)."
        )
    await runs.cancel(found[1])


def about(run: Run | Elsewhere) -> InferenceResponse:
    """What a list says of a stream: a response without outputs, whose id is the stream's."""
    left = run.seconds_left
    parameters: dict[str, Any] = {
        "state": run.state,
        "responses": run.log.last,
        "first_response": run.log.first,
        "bytes": run.log.size,
        **({} if left is None else {"seconds_left": int(left)}),
    }
    return InferenceResponse.model_construct(
        model_name=run.head.model,
        model_version=run.head.served,
        id=run.head.id,
        parameters=Parameters(**parameters),
        outputs=[],
    )
