"""A caller's streams that outlive their connections, over gRPC: read on, listed and cancelled by a
`ModelStreamInfer` without requests, whose metadata say what is wanted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from mlserver.types import InferenceResponse, Parameters

from ..errors import BadRequestError, shown
from ..resume.elsewhere import Elsewhere
from ..resume.position import STREAM
from ..resume.run import Run
from ..resume.runs import Runs

# Call metadata: where in which stream its client was; a list is wanted, whatever it says; and the
# stream that is to end.
RESUME, LIST, CANCEL = "x-resume", "x-resume-list", "x-resume-cancel"
# How long who sends one may take to say that he asks nothing: it comes with it, mostly.
CLOSE_SECONDS = 0.05
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


@asynccontextmanager
async def without_requests(
    messages: AsyncIterator[bytes], seconds: float = CLOSE_SECONDS
) -> AsyncIterator[asyncio.Task[None]]:
    """Answer a client that is to ask nothing; the task ends when it has said that it does not.

    Args:
        seconds: to wait for that, first.

    Raises:
        BadRequestError: it does ask.
    """
    asking = asyncio.create_task(_no_more(messages))
    try:
        # Before anything is written: gRPC loses the end of a call whose client writes.
        await asyncio.wait([asking], timeout=seconds)
        if asking.done():
            asking.result()
        yield asking
    finally:
        asking.cancel()
        # A refused client's messages are read on, which two cannot do.
        await asyncio.gather(asking, return_exceptions=True)


async def _no_more(messages: AsyncIterator[bytes]) -> None:
    async for _ in messages:
        raise BadRequestError(
            f"A call with the metadata '{RESUME}', '{LIST}' or '{CANCEL}' takes no requests; ask "
            "on another."
        )
