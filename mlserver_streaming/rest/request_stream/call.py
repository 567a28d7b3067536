"""A call whose body holds many requests, and whose answers leave while it still comes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress
from time import perf_counter_ns
from typing import Any, NamedTuple

from mlserver import MLModel
from mlserver.types import InferenceResponse
from starlette.requests import ClientDisconnect

from ...errors import BadRequestError, MLServerError, failure_of
from ...models.messages import put_headers
from ...regions.regions import Own
from ...streams.calls import NDJSON, Call
from ...streams.data_plane import StreamingDataPlane
from ...streams.substreams import SOLE_REQUEST_SECONDS, Substreams
from ...streams.turns import in_turns
from ...tensors.steps import gathered
from ..events import JSON, Answers, Framing
from .asked import Asked
from .coming import Coming
from .reading import Reader, id_of


class Written(NamedTuple):
    """An event, and the error that it tells of, if it tells of one."""

    event: bytes
    failure: MLServerError | None


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
        self._figures = data_plane.metrics.of(model.name, model.version, NDJSON)
        self._bound = data_plane.rest_bound
        self._count = 0
        self._more_or_end = asyncio.Event()
        # At the end of them stands why there are no more.
        ahead = data_plane.streaming.limits.buffered_responses
        self._written: asyncio.Queue[Written | Exception | None] = asyncio.Queue(ahead)

    async def events(self) -> AsyncGenerator[bytes, None]:
        """The answers, as they are sent.

        Raises:
            MLServerError: the body cannot be read, or its only request failed.
        """
        work = asyncio.create_task(self._work())
        held: Written | None = None
        is_first = True
        try:
            while (found := await self._written.get()) is not None:
                if isinstance(found, Exception):
                    raise found
                if held is not None:
                    yield held.event
                    held = None
                if is_first and found.failure is not None and await self._is_sole():
                    held = found
                else:
                    yield found.event
                is_first = False
            if held is not None and held.failure is not None:
                raise held.failure
        finally:
            work.cancel()
            await asyncio.wait((work,))

    async def _is_sole(self) -> bool:
        """Whether the first request turns out to be the only one: then its failure is a status."""
        with suppress(TimeoutError):
            async with asyncio.timeout(SOLE_REQUEST_SECONDS):
                await self._more_or_end.wait()
        return self._more_or_end.is_set() and self._count == 1

    async def _work(self) -> None:
        end: Exception | None = None
        try:
            await self._drive()
        except Exception as error:
            end = error
        self._more_or_end.set()
        await self._written.put(end)

    async def _drive(self) -> None:
        fault: MLServerError | None = None
        async with Substreams(self._data_plane, self, lasting=True) as models:
            while True:
                try:
                    asked = await anext(self._coming, None)
                except MLServerError as error:
                    # What was asked before it has its answers first.
                    fault = error
                    break
                except ClientDisconnect:
                    # The call's task is being cancelled, and cancels this one.
                    await asyncio.get_running_loop().create_future()
                    raise
                if asked is None:
                    break
                await self._route(asked, models)
            if fault is None:
                self._more_or_end.set()
        if fault is None and not self._count:
            fault = BadRequestError("The body holds no request; send one a line, or one a part.")
        if fault is not None:
            raise fault

    async def _route(self, asked: Asked, models: Substreams) -> None:
        self._count += 1
        if self._count > 1:
            self._more_or_end.set()
        begun = perf_counter_ns()
        try:
            request = await in_turns(self._reader.read(asked, self._own))
            put_headers(request.payload, dict(self._headers))
            self._call.check(request.payload)
            read_ns = perf_counter_ns() - begun
        except MLServerError as error:
            models.count()
            await models.fail(self._model.name, id_of(asked), error, JSON)
            return
        if await models.put(request) is not None:
            self._figures.received.inc(len(asked.body))
            self._data_plane.served(self._model).input_ns += read_ns

    def encode(
        self, response: InferenceResponse, form: Answers, model: MLModel | None
    ) -> Written | None:
        body = form.encode(response)
        if body is None:
            return None
        self._bound.check(len(body))
        return Written(self._framing.event % body, failure_of(response))

    async def encode_large(
        self, response: InferenceResponse, form: Answers, model: MLModel | None
    ) -> Written:
        parts = await in_turns(form.written(response))
        self._bound.check(sum(map(len, parts)))
        before, after = self._framing.event.split(b"%b")
        return Written(await in_turns(gathered((before, *parts, after))), None)

    def final(self, request_id: str) -> None:
        """A request's stream has no end of its own here."""

    def failed(self, model: MLModel) -> None:
        self._figures.errors.inc(1)

    def outbox(self, model: MLModel | None) -> Outbox:
        return Outbox(self._written)


class Outbox:
    """A model's events on their way to the task that writes them. That has its turn when the model
    waits, and when as many are ready as may be, whatever the model does."""

    def __init__(self, written: asyncio.Queue[Any]):
        self._written = written
        self._ready: list[Written] = []

    def put(self, event: Written) -> bool:
        self._ready.append(event)
        return True

    async def flush(self) -> None:
        ready, self._ready = self._ready, []
        for event in ready:
            await self._written.put(event)

    async def pause(self) -> None:
        await self.flush()
