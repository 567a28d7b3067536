"""A call whose body holds many requests, and whose answers leave while it still comes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from time import perf_counter_ns
from typing import Any

from mlserver import MLModel
from mlserver.types import InferenceResponse, Parameters
from starlette.requests import ClientDisconnect

from ...errors import BadRequestError, MLServerError
from ...models.messages import put_headers
from ...regions.regions import Own
from ...streams.calls import NDJSON, Call
from ...streams.data_plane import StreamingDataPlane
from ...streams.deadlines import timeout_seconds
from ...streams.response_bound import ResponseBound
from ...streams.substreams import SOLE_REQUEST_SECONDS, Substreams
from ...streams.turns import in_turns
from ...tensors.steps import gathered
from ...watch.metrics import Figures
from ..events import JSON, Framing
from .asked import Asked
from .coming import Coming
from .reading import Reader, id_of


class StreamedRequests:
    """All of its requests are one stream to one model. A `streams.substreams.Wire`.

    One task reads the body and drives the model; the call's own writes what comes of it.
    """

    def __init__(
        self,
        data_plane: StreamingDataPlane,
        call: Call,
        model: MLModel,
        coming: Coming,
        reader: Reader,
        own: Own,
        headers: dict[str, Any],
        framing: Framing,
    ):
        """
        Args:
            own: the caller's regions of shared memory.
            headers: of the call, as its model may see them.
            framing: what stands around each answer.
        """
        self._data_plane = data_plane
        self._call = call
        self._model = model
        self._coming = coming
        self._reader = reader
        self._own = own
        self._headers = headers
        self._framing = framing
        self._figures: Figures = data_plane.metrics.of(model.name, model.version, NDJSON)
        self._bound: ResponseBound = data_plane.rest_bound
        self._count = 0
        # Events that are written, and at the end why there are no more.
        ahead = data_plane.streaming.limits.buffered_responses
        self._events: asyncio.Queue[bytes | Exception | None] = asyncio.Queue(ahead)

    async def events(self) -> AsyncGenerator[bytes, None]:
        """The answers, as they are sent.

        Raises:
            MLServerError: the stream failed; at its first request, where that is its only one.
        """
        work = asyncio.create_task(self._work())
        try:
            while (event := await self._events.get()) is not None:
                if isinstance(event, Exception):
                    raise event
                yield event
        finally:
            work.cancel()
            await asyncio.wait((work,))

    async def _work(self) -> None:
        end: Exception | None = None
        try:
            await self._drive()
        except Exception as error:
            end = error
        await self._events.put(end)

    async def _drive(self) -> None:
        fault: MLServerError | None = None
        async with Substreams(self._data_plane, self) as models:
            while True:
                try:
                    asked = await anext(self._coming, None)
                except MLServerError as error:
                    # What was asked before it has its answers first.
                    fault = error
                    break
                except ClientDisconnect:
                    # The call's task is being cancelled, and this one will be by it.
                    await asyncio.get_running_loop().create_future()
                if asked is None:
                    break
                await self._route(asked, models)
        if fault is None and not self._count:
            fault = BadRequestError("The body holds no request; send one a line, or one a part.")
        if fault is not None:
            raise fault

    async def _route(self, asked: Asked, models: Substreams) -> None:
        self._count += 1
        begun = perf_counter_ns()
        try:
            request = await in_turns(self._reader.read(asked, self._own))
            put_headers(request.payload, dict(self._headers))
            self._call.check(request.payload)
            timeout_seconds(request.payload)
            read_ns = perf_counter_ns() - begun
        except MLServerError as error:
            models.count()
            if self._count == 1 and await self._coming.is_over(SOLE_REQUEST_SECONDS):
                raise
            await self._fail(id_of(asked), error)
            return
        if await models.put(request) is not None:
            self._figures.received.inc(len(asked.body))
            self._data_plane.served(self._model).input_ns += read_ns

    async def _fail(self, request_id: str, error: MLServerError) -> None:
        """Answer a request that could not be read."""
        parameters: dict[str, Any] = {"error": str(error), "error_code": error.status_code}
        failure = InferenceResponse.model_construct(
            model_name=self._model.name,
            id=request_id,
            parameters=Parameters(**parameters),
            outputs=[],
        )
        await self.write(self.encode(failure, JSON, None))

    def encode(self, response: InferenceResponse, raw: Any, model: MLModel | None) -> bytes:
        body: bytes = (raw or JSON).encode(response)
        self._bound.check(len(body))
        return self._framing.event % body

    async def encode_large(
        self, response: InferenceResponse, raw: Any, model: MLModel | None
    ) -> bytes:
        parts = await in_turns((raw or JSON).written(response))
        self._bound.check(sum(map(len, parts)))
        before, after = self._framing.event.split(b"%b")
        return await in_turns(gathered((before, *parts, after)))

    def failed(self, model: MLModel) -> None:
        self._figures.errors.inc(1)

    async def write(self, message: bytes) -> None:
        await self._events.put(message)
