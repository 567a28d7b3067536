"""The answer to one request, on its way: from what is stored, or from a run of the model."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from time import monotonic, perf_counter_ns
from typing import Any

from mlserver.types import InferenceRequest, InferenceResponse, Parameters

from ..errors import MLServerError
from ..recordings.recording import Recording, decode
from ..watch.statistics import Duration
from .flight import SOME, Seat
from .sequences import sequence_of
from .wishes import CACHE

# How a response came: from what is stored, from a run that was under way, from one of its own.
HIT, JOINED, MISS = "hit", "joined", "miss"


class Answer:
    """Iterate its responses once, and `close` it in the end, iterated or not."""

    __slots__ = ("_begun", "_counts", "_request_id", "_sequence", "way")

    def __init__(self, request: InferenceRequest, way: str) -> None:
        self._request_id = request.id
        self._sequence = sequence_of(request)
        self.way = way
        self._counts: Duration | None = None
        self._begun = 0

    def responses(self) -> AsyncGenerator[InferenceResponse, None]:
        raise NotImplementedError

    def count(self, in_: Duration, begun: int) -> None:
        """Count it when it is closed, from this reading of the clock on."""
        self._counts, self._begun = in_, begun

    def close(self) -> None:
        """Nobody waits for it any more."""
        if self._counts is not None:
            self._counts.add(perf_counter_ns() - self._begun)
            self._counts = None


def says(way: str) -> Parameters:
    """The parameters that say how a response came, and nothing else.

    An answer's first response has its own, since headers are added to it; the others share theirs.
    """
    said: dict[str, Any] = {CACHE: way}
    return Parameters(**said)


class StoredAnswer(Answer):
    """A recording: as fast as it is read, or at its first pace."""

    __slots__ = ("_paced", "_recording")

    def __init__(self, request: InferenceRequest, recording: Recording, paced: bool) -> None:
        super().__init__(request, HIT)
        self._recording = recording
        self._paced = paced

    async def responses(self) -> AsyncGenerator[InferenceResponse, None]:
        request_id, sequence, shared = self._request_id, self._sequence, None
        started = monotonic()
        for number, chunk in enumerate(self._recording.chunks):
            if number:
                await asyncio.sleep(0)  # who collects a long one must not hold the loop up
            for recorded in decode(chunk):
                if self._paced:
                    await asyncio.sleep(started + recorded.seconds - monotonic())
                yield recorded.response(request_id, HIT, shared or says(HIT), sequence)
                shared = shared or says(HIT)


class HeardAnswer(Answer):
    """What a run says."""

    __slots__ = ("_seat",)

    def __init__(self, request: InferenceRequest, seat: Seat, way: str) -> None:
        super().__init__(request, way)
        self._seat = seat

    async def responses(self) -> AsyncGenerator[InferenceResponse, None]:
        request_id, sequence = self._request_id, self._sequence
        way, shared = self.way, None
        async for some in self._seat:
            for recorded in some:
                yield recorded.response(request_id, way, shared or says(way), sequence)
                shared = shared or says(way)
            if len(some) == SOME:
                await asyncio.sleep(0)  # there may be much more already

    def close(self) -> None:
        super().close()
        self._seat.leave()


class RefusedAnswer(Answer):
    """A request of several that is refused; the others go on."""

    __slots__ = ("_error", "_model_name")

    def __init__(self, request: InferenceRequest, model_name: str, error: MLServerError) -> None:
        super().__init__(request, MISS)
        self._model_name = model_name
        self._error = error

    async def responses(self) -> AsyncGenerator[InferenceResponse, None]:
        said: dict[str, Any] = {
            "error": str(self._error),
            "error_code": self._error.status_code,
        }
        yield InferenceResponse(
            model_name=self._model_name,
            id=self._request_id,
            parameters=Parameters(**said),
            outputs=[],
        )
