"""The answer to one request, on its way: from what is stored, or from a run of the model."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from time import monotonic
from typing import Any

from mlserver.types import InferenceResponse, Parameters

from ..errors import MLServerError
from .flight import Seat
from .recording import Recording

# How a response came: from what is stored, from a run that was under way, from one of its own.
HIT, JOINED, MISS = "hit", "joined", "miss"


class Answer:
    """Iterate its responses once, and `close` it in the end, iterated or not."""

    __slots__ = ("_request_id", "mark")

    def __init__(self, request_id: str | None, mark: str) -> None:
        self._request_id = request_id
        self.mark = mark

    def responses(self) -> AsyncGenerator[InferenceResponse, None]:
        raise NotImplementedError

    def close(self) -> None:
        """Nobody waits for it any more."""


class StoredAnswer(Answer):
    """A recording: as fast as it is read, or at its first pace."""

    __slots__ = ("_paced", "_recording")

    def __init__(self, request_id: str | None, recording: Recording, paced: bool) -> None:
        super().__init__(request_id, HIT)
        self._recording = recording
        self._paced = paced

    async def responses(self) -> AsyncGenerator[InferenceResponse, None]:
        started = monotonic()
        for recorded in self._recording:
            if self._paced:
                await asyncio.sleep(started + recorded.seconds - monotonic())
            yield recorded.response(self._request_id, HIT)


class HeardAnswer(Answer):
    """What a run says."""

    __slots__ = ("_seat",)

    def __init__(self, request_id: str | None, seat: Seat, mark: str) -> None:
        super().__init__(request_id, mark)
        self._seat = seat

    async def responses(self) -> AsyncGenerator[InferenceResponse, None]:
        request_id, mark = self._request_id, self.mark
        async for recorded in self._seat:
            yield recorded.response(request_id, mark)

    def close(self) -> None:
        self._seat.leave()


class RefusedAnswer(Answer):
    """A request of several that is refused; the others go on."""

    __slots__ = ("_error", "_model_name")

    def __init__(self, request_id: str | None, model_name: str, error: MLServerError) -> None:
        super().__init__(request_id, MISS)
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
