"""One who reads a run, from any response that is kept on."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Sequence
from itertools import count
from typing import Any, Protocol

from mlserver.types import InferenceResponse, Parameters

from ..models.messages import response as response_of
from ..recordings.recorded import said_by
from ..recordings.texts import Texts
from .head import Head
from .position import Position
from .response_log import ResponseLog

# The parameter of a response that says where in its stream it is, on wires without event ids.
RESUME_ID = "resume_id"


class Readable(Protocol):
    """A run, as one who reads it sees it."""

    head: Head
    log: ResponseLog

    async def after(self, number: int) -> Sequence[InferenceResponse]: ...

    def was_heard(self) -> None: ...

    def leave(self, reader: Reader) -> None: ...


class Reader:
    """Iterate one of `responses`, `with_ids` and `batches` once; `leave` it in the end.

    Attributes:
        heard: the number of the last response that the reader has.
    """

    __slots__ = ("_run", "heard")

    def __init__(self, run: Readable, after: int) -> None:
        self._run = run
        self.heard = after

    async def batches(self) -> AsyncGenerator[Sequence[InferenceResponse], None]:
        """The responses after `heard`, as many as there are at a time.

        Whoever takes a batch has it when he asks for the next one.

        Raises:
            ForgottenError: what comes next is kept no more.
            MLServerError: what the run ended with, after its last response.
        """
        run = self._run
        while some := await run.after(self.heard):
            yield some
            self.heard += len(some)
            run.was_heard()

    async def responses(self) -> AsyncGenerator[InferenceResponse, None]:
        """The responses after `heard`, which counts them: the one that is given is the next.

        Raises:
            as `batches`.
        """
        run = self._run
        try:
            while some := await run.after(self.heard):
                for response in some:
                    yield response
                    self.heard += 1
                run.was_heard()
        finally:
            self.leave()

    async def with_ids(self) -> AsyncGenerator[InferenceResponse, None]:
        """The same; each response says in its parameter `resume_id` where in the stream it is."""
        run = self._run
        try:
            while some := await run.after(self.heard):
                for response in _with_ids(some, Position(run.head.id, self.heard + 1)):
                    yield response
                    self.heard += 1
                run.was_heard()
        finally:
            self.leave()

    def leave(self) -> None:
        """Read no more. Twice is as good as once."""
        self._run.leave(self)


def take_place(response: InferenceResponse) -> str | None:
    """Take its place in a resumable stream out of a response that `with_ids` gave."""
    said = response.parameters.model_extra if response.parameters is not None else None
    place = said.pop(RESUME_ID, None) if said else None
    if place is not None and not said:
        response.parameters = None
    return place


def _with_ids(
    responses: Sequence[InferenceResponse], first: Position
) -> Iterable[InferenceResponse]:
    """Responses with their places in the stream.

    Args:
        first: that of the first of them.
    """
    places = (f"{first.stream}.{number}" for number in count(first.after))
    if isinstance(responses, Texts):
        return responses.saying(RESUME_ID, places)  # each is made once
    return map(_with_id, responses, places)


def _with_id(response: InferenceResponse, resume_id: str) -> InferenceResponse:
    """The same response, which others may read too, with its place in the stream."""
    said: dict[str, Any] = {**(said_by(response.parameters) or {}), RESUME_ID: resume_id}
    return response_of(
        response.model_name,
        response.model_version,
        response.id,
        response.outputs,
        Parameters(**said),
    )
