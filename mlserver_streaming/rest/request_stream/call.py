"""A call whose body holds many requests, and whose answers leave while it still comes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import closing, suppress
from time import perf_counter_ns
from typing import Any, NamedTuple

from mlserver import MLModel
from mlserver.types import InferenceRequest, InferenceResponse
from starlette.requests import ClientDisconnect

from ...errors import BadRequestError, MLServerError, MovedError, failure_of
from ...models.messages import put_headers
from ...regions.regions import Own
from ...resume.reader import take_place
from ...streams.calls import NDJSON, Call
from ...streams.data_plane import StreamingDataPlane
from ...streams.response_writer import SOLE_REQUEST_SECONDS
from ...streams.substreams import Substreams
from ...streams.turns import in_turns
from ...tensors.json_codec import is_large
from ...tensors.steps import gathered
from ..events import JSON, READY_BYTES, Answers
from ..framing import EVENTS, Framing
from ..kept_streams import form_of
from ..resumable_events import COME_BACK, RETRY
from .asked import Asked
from .coming import Coming
from .reading import Reader, id_of

# Events that leave together.
READY = 16
MOVED = str(MovedError())
NOT_ASYNC = (
    "'Prefer: respond-async' is for a body that is one request; leave it out, or send each request "
    "by itself."
)


class Written(NamedTuple):
    """Events, and the error that the first of all tells of, if it tells of one."""

    events: bytes
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
        is_async: bool,
    ):
        """
        Args:
            own: the caller's regions of shared memory.
            headers: of the call, as its model may see them.
            framing: what stands around each answer.
            is_async: whether who asks would rather not listen now.
        """
        self._data_plane = data_plane
        self._call = call
        self._model = model
        self._coming = coming
        self._reader = reader
        self._own = own
        self._headers = headers
        self._framing = framing
        self._is_async = is_async
        self._figures = data_plane.metrics.of(model.name, model.version, NDJSON)
        self._bound = data_plane.rest_bound
        self._count = 0
        self._more_or_end = asyncio.Event()
        # At the end of them stands why there are no more.
        self._written: asyncio.Queue[Written | Exception | None] = asyncio.Queue(1)

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
                    yield held.events
                    held = None
                if is_first and found.failure is not None and await self._is_sole():
                    held = found
                else:
                    yield found.events
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
            with closing(self._coming):
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
                del asked  # which may be large, and the next one may be long in coming
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
            self._coming.is_read()
            put_headers(request.payload, dict(self._headers))
            self._call.check(request.payload)
            wants_no_answer = self._is_async and self._count == 1 and self._is_kept(request.payload)
            read_ns = perf_counter_ns() - begun
        except MLServerError as error:
            self._coming.is_read()
            models.count()
            await models.fail(self._model.name, id_of(asked), error, JSON)
            return
        if wants_no_answer:
            raise BadRequestError(NOT_ASYNC)
        if await models.put(request) is not None:
            self._figures.received.inc(len(asked.body))
            self._data_plane.served(self._model).input_ns += read_ns

    def _is_kept(self, first: InferenceRequest) -> bool:
        resume = self._data_plane.resume
        return resume is not None and resume.is_wanted(first, self._model)

    def encode(
        self, response: InferenceResponse, form: Answers, model: MLModel | None
    ) -> Written | None:
        lead, failure = b"", None
        if response.parameters is not None:
            if is_large(response):
                return None
            lead, failure = self._lead(response), failure_of(response)
            if failure is not None and self._framing is EVENTS and str(failure) == MOVED:
                if self._count == 1:
                    return Written(COME_BACK, failure)
                lead = RETRY  # which of the requests is to be asked for again stands in it
        body = form.encode(response)
        if body is None:
            return None
        self._bound.check(len(body))
        return Written(lead + self._framing.event % body, failure)

    async def encode_large(
        self, response: InferenceResponse, form: Answers, model: MLModel | None
    ) -> Written:
        lead = self._lead(response)
        parts = await in_turns(form.written(response))
        self._bound.check(sum(map(len, parts)))
        before, after = self._framing.event.split(b"%b")
        return Written(await in_turns(gathered((lead, before, *parts, after))), None)

    def _lead(self, response: InferenceResponse) -> bytes:
        """A place in a resumable stream is an event's id; a line has it in its JSON."""
        place = take_place(response) if self._framing is EVENTS else None
        return b"" if place is None else b"id: %b\n" % place.encode()

    def kept(self, form: Answers) -> dict[str, Any]:
        return form_of(form)

    def final(self, request_id: str) -> None:
        """A request's stream has no end of its own here."""

    def failed(self, model: MLModel) -> None:
        self._figures.errors.inc(1)

    def outbox(self, model: MLModel | None) -> Outbox:
        return Outbox(self._written, self._data_plane.streaming.limits.buffered_responses)


class Outbox:
    """A model's events on their way to the task that writes them: those that are ready together go
    together, and the first alone. That task has its turn when the model waits, and when enough are
    ready, whatever the model does."""

    def __init__(self, written: asyncio.Queue[Any], limit: int):
        """
        Args:
            limit: events that may be ready; not more than READY are.
        """
        self._written = written
        self._limit = min(limit, READY)
        self._ready: list[Written] = []
        self._bytes = 0
        self._has_begun = False

    def put(self, event: Written) -> bool:
        self._ready.append(event)
        self._bytes += len(event.events)
        is_full = len(self._ready) >= self._limit or self._bytes >= READY_BYTES
        return is_full or not self._has_begun

    async def flush(self) -> None:
        if self._ready:
            await self.pause()
            await asyncio.sleep(0)

    async def pause(self) -> None:
        if not self._ready:
            return
        self._has_begun = True
        ready, self._ready, self._bytes = self._ready, [], 0
        events = ready[0].events
        if len(ready) > 1:
            events = b"".join([each.events for each in ready])
        await self._written.put(Written(events, ready[0].failure))
