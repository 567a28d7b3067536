"""What a model answers, taken down as a run's, whichever of its workers are lost meanwhile."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import Any

from mlserver import MLModel
from mlserver.types import InferenceRequest, InferenceResponse, Parameters

from ..errors import WorkerLostError
from ..recordings.recorded import said_by, set_apart
from ..streams.calls import Call
from ..streams.data_plane import StreamingDataPlane
from .going_on import records_of, rest_of
from .head import Head
from .run import Run

# So many workers that say nothing more may be lost under one stream.
WORKERS_LOST = 3
# For how long a stream whose worker is lost waits for another, and how often it looks.
WORKER_SECONDS, LOOK_SECONDS = 60.0, 0.1
# The parameter of a stream's first response: how long its reader may be away.
RESUME_SECONDS = "resume_seconds"


class TakingDown:
    """
    Args:
        seconds: how long a reader may be away.
    """

    def __init__(self, data_plane: StreamingDataPlane, seconds: float):
        self._data_plane, self._seconds = data_plane, seconds

    def rest(
        self, run: Run, model: MLModel, request: InferenceRequest
    ) -> AsyncGenerator[InferenceResponse, None]:
        """What a model says behind what a run has said."""
        said, first, version = records_of(run.log), run.log.first, run.head.version
        return rest_of(self._data_plane, model, request, version, said, first)

    async def say_all(
        self,
        run: Run,
        call: Call,
        stream: AsyncGenerator[InferenceResponse, None],
        model: MLModel,
        request: InferenceRequest,
    ) -> None:
        """Take down what the model answers, whichever of its workers are lost meanwhile.

        Raises:
            WorkerLostError: one after the other was lost, and none said more.
        """
        last, left = -1, WORKERS_LOST
        while True:
            try:
                return await self.say(run, call, stream)
            except WorkerLostError:
                # A request that kills whoever answers it is not to do so for ever.
                left = WORKERS_LOST if run.log.last > last else left - 1
                if not left:
                    raise
            last = run.log.last
            call.last = math.inf  # nobody is there to be silent
            await self._until_ready(run.head)
            call.touch()
            stream = self.rest(run, model, request)

    async def _until_ready(self, head: Head) -> None:
        """Wait until there is a worker again; not for ever, and then what is asked says so."""
        with suppress(TimeoutError):
            async with asyncio.timeout(WORKER_SECONDS):
                while not await self._data_plane.model_ready(  # noqa: ASYNC110
                    head.model, head.version
                ):
                    await asyncio.sleep(LOOK_SECONDS)

    async def say(
        self, run: Run, call: Call, stream: AsyncGenerator[InferenceResponse, None]
    ) -> None:
        """Take down what the model answers."""
        async with aclosing(stream) as responses:
            async for response in responses:
                if not run.log.last:
                    _say_how_long(response, self._seconds)
                elif run.began_elsewhere:
                    _leave_headers_out(response)
                goes_on = run.say_text(response)
                if goes_on is None:
                    goes_on = run.say(response, await set_apart(response))
                if not goes_on:
                    # It is not the model that is silent.
                    call.last = math.inf
                    await run.room()
                call.touch()


def _leave_headers_out(response: InferenceResponse) -> None:
    """What the data plane says with the first response, a stream that goes on has said already."""
    said = said_by(response.parameters)
    if said is not None and said.pop("headers", None) is not None:
        response.parameters = Parameters(**said) if said else None


def _say_how_long(response: InferenceResponse, seconds: float) -> None:
    """Have a stream's first response say how long its reader may be away."""
    said: dict[str, Any] = {**(said_by(response.parameters) or {}), RESUME_SECONDS: seconds}
    response.parameters = Parameters(**said)
