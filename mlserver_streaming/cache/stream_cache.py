"""The cache in front of the models: `streams.answers`, remembered.

A question is looked for among the runs that are under way, then among what is stored; the model is
asked where it is in neither, and its answer stored when it is whole. Each response of a model that
uses the cache says in its parameter `cache` how it came.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from time import monotonic, perf_counter_ns
from typing import Any, Protocol
from weakref import WeakKeyDictionary

from mlserver import MLModel
from mlserver.registry import MultiModelRegistry
from mlserver.types import InferenceRequest, InferenceResponse, Parameters

from ..access import callers
from ..errors import MLServerError, failure_of
from ..recordings.recorded import Recorded
from ..recordings.recording import Recording, record
from ..secret import secret_of
from ..settings import LimitSettings, StreamingSettings
from ..streams import answers
from ..streams.collect import collect
from ..streams.in_use import InUse
from .answer import HIT, JOINED, MISS, Answer, HeardAnswer, RefusedAnswer, StoredAnswer
from .declared import Declared
from .figures import GET, PUT, CacheFigures
from .flight import Budget, Flight
from .identity import Identities
from .in_order import in_order
from .key import PREDICT, STREAM, is_large, key_of
from .memory import MemoryStore
from .sequences import OF_SEQUENCES, SequencesSeen, in_sequence, is_flagged
from .wishes import CACHE, take_wishes


class Store(Protocol):
    """Where recordings are kept. It never raises: what cannot be had is not there."""

    async def get(self, key: str) -> Recording | None: ...

    async def put(self, key: str, recording: Recording) -> bool: ...

    async def remove(self, key: str) -> None: ...

    async def close(self) -> None: ...


class HasRequests(Protocol):
    """A stream's requests: the id of the one read last, and whether there is one only, which an
    edge knows beforehand."""

    last_id: str | None

    @property
    def sole(self) -> bool: ...

    def __aiter__(self) -> AsyncIterator[InferenceRequest]: ...

    async def __anext__(self) -> InferenceRequest: ...


class StreamCache:
    """What `streams.answers` does, for models whose settings say `cache_enabled`."""

    def __init__(
        self,
        settings: StreamingSettings,
        registry: MultiModelRegistry,
        in_use: InUse,
        folder: str = ".",
    ) -> None:
        """
        Args:
            folder: where the settings' relative paths begin.

        Raises:
            SystemExit: the file of the secret cannot be used.
        """
        self._settings = settings.cache
        self._limits = settings.limits
        self._identities = Identities(registry)
        self._in_use = in_use
        self.figures = CacheFigures()
        self._store: Store
        if self._settings.backend == "memcached":
            # Here: a service without it starts sooner.
            from .memcached import MemcachedStore

            self._store = MemcachedStore(
                self._settings, self.figures, secret_of(self._settings, folder)
            )
        else:
            self._store = memory = MemoryStore(self._settings.bytes, self._settings.seconds)
            self.figures.hold(lambda: memory.bytes)
        self._budget = Budget(self._settings.running_bytes)
        self._flights: dict[str, Flight] = {}
        self._seen: WeakKeyDictionary[MLModel, SequencesSeen] = WeakKeyDictionary()

    async def predict(self, model: MLModel, request: InferenceRequest) -> InferenceResponse:
        """The one answer to a request, as `answers.predict` has it.

        Raises:
            BadRequestError: the request has a wish that there is not.
            whatever `answers.predict` raises.
        """
        kind = PREDICT if answers.is_unary(model) else STREAM
        answer = await self._begin(model, request, Declared.by(model), kind)
        try:
            async with aclosing(answer.responses()) as responses:
                if kind is PREDICT:
                    # To the end, which is where an answer is stored.
                    [response] = [response async for response in responses]
                    return response
                whole = await collect(model, responses, self._limits)
        finally:
            answer.close()
        return marked(whole, answer.way)

    async def stream(
        self, model: MLModel, requests: HasRequests
    ) -> AsyncGenerator[InferenceResponse, None]:
        """The responses to a stream of requests, as `answers.stream` has them.

        Requests of one stream are answered one by one, and beside one another, where the model
        says that they are independent; otherwise the model gets the stream as it is.

        Raises:
            BadRequestError: the only request has a wish that there is not.
            whatever `answers.stream` raises.
        """
        declared = Declared.by(model)
        kind = STREAM if answers.is_decoupled(model) else PREDICT

        async def begin(request: InferenceRequest) -> Answer:
            return await self._begin(model, request, declared, kind)

        async def begin_or_refuse(request: InferenceRequest) -> Answer:
            try:
                return await begin(request)
            except MLServerError as error:
                return RefusedAnswer(request, model.name, error)

        if not (requests.sole or declared.independent):
            async with aclosing(answers.stream(model, _without_wishes(requests))) as responses:
                async for response in responses:
                    yield marked(response, MISS)
            return
        begun = (
            _one_by_one(requests, begin)
            if requests.sole
            else in_order(requests, begin_or_refuse, self._limits.buffered_responses)
        )
        async with aclosing(begun):
            async for answer in begun:
                async with aclosing(answer.responses()) as responses:
                    async for response in responses:
                        if not response.id:
                            # Nor has the request one: not that of another that was read since.
                            requests.last_id = response.id
                        yield response

    async def close(self) -> None:
        await self._store.close()

    async def _begin(
        self, model: MLModel, request: InferenceRequest, declared: Declared, kind: bytes
    ) -> Answer:
        """Find the answer to a request, or have the model begin it; counted."""
        begun = perf_counter_ns()
        answer = await self._found_or_begun(model, request, declared, kind)
        figures = self.figures.of(model.name, model.version)
        figures.ways[answer.way].inc()
        if answer.way == MISS:
            figures.misses.add(perf_counter_ns() - begun)
        else:
            answer.count(figures.hits, begun)
        return answer

    async def _found_or_begun(
        self, model: MLModel, request: InferenceRequest, declared: Declared, kind: bytes
    ) -> Answer:
        wishes = take_wishes(request)
        stores, reads = wishes.stores, wishes.stores and wishes.reads
        seen = None
        if in_sequence(request):
            stores = stores and declared.independent and not is_flagged(request)
            if declared.independent:
                seen = self._sequences(model, declared)
                reads = reads and seen.may_pass_by(request)
        key = await self._key(model, request, declared, kind) if stores else None
        if key is not None and reads:
            if flight := self._flights.get(key):
                return _joining(flight, request)
            began = monotonic()
            recording = await self._store.get(key)
            read = recording.size if recording is not None else 0
            self.figures.waited(GET, monotonic() - began, read)
            if recording is not None:
                return StoredAnswer(request, recording, wishes.paced)
            if flight := self._flights.get(key):  # begun while the store was asked
                return _joining(flight, request)
        responses = _asked(model, request, kind, self._limits)
        if seen is not None:
            responses = _noted(responses, seen, request, seen.begun())
        flight = self._start(
            model, responses, key, refreshes=declared if not wishes.reads else None
        )
        return HeardAnswer(request, flight.join(), MISS)

    async def _key(
        self, model: MLModel, request: InferenceRequest, declared: Declared, kind: bytes
    ) -> str | None:
        identity = await self._identities.of(model)
        caller = callers.current().identity if self._settings.per_key else ""
        ignored = declared.ignores | OF_SEQUENCES if declared.independent else declared.ignores
        arguments = request, identity, kind, caller, ignored
        if is_large(request):
            return await asyncio.to_thread(key_of, *arguments)
        return key_of(*arguments)

    def _sequences(self, model: MLModel, declared: Declared) -> SequencesSeen:
        seen = self._seen.get(model)
        if seen is None:
            idle = declared.idle_seconds or self._limits.sequence_idle_seconds
            seen = self._seen[model] = SequencesSeen(self._limits.sequences, idle / 2)
        return seen

    def _start(
        self,
        model: MLModel,
        responses: AsyncGenerator[InferenceResponse, None],
        key: str | None,
        refreshes: Declared | None,
    ) -> Flight:
        """Have the model begin; others may join where there is a key.

        Args:
            refreshes: what the model declares, where its answer is to replace a stored one.
        """

        async def end(flight: Flight, said: list[Recorded]) -> None:
            recording = await record(said)
            if key is None or flight.superseded:
                return
            stored = False
            if recording is not None:
                began = monotonic()
                stored = await self._store.put(key, recording)
                written = recording.size if stored else 0
                self.figures.waited(PUT, monotonic() - began, written)
            if stored:
                self.figures.of(model.name, model.version).stores.inc()
            else:
                await lose(flight, False)

        async def lose(flight: Flight, failed: bool) -> None:
            """What cannot be stored must not leave an older answer in its place."""
            if key is None or refreshes is None or flight.superseded:
                return
            if not failed or refreshes.failed_refresh_removes:
                await self._store.remove(key)

        def close(flight: Flight) -> None:
            if key is not None and self._flights.get(key) is flight:
                del self._flights[key]

        keep_bytes = self._settings.entry_bytes if key is not None else 0
        window = self._limits.buffered_responses
        flight = Flight(self._budget, keep_bytes, window, end, lose, close)
        # Not unloaded before the run has ended, whoever listens by then.
        flight.start(responses, self._in_use.hold(model))
        if key is not None:
            if older := self._flights.get(key):
                older.superseded = True
            self._flights[key] = flight
        return flight


def _joining(flight: Flight, request: InferenceRequest) -> Answer:
    # One that has ended is on its way to the store.
    return HeardAnswer(request, flight.join(), HIT if flight.ended else JOINED)


def _asked(
    model: MLModel, request: InferenceRequest, kind: bytes, limits: LimitSettings
) -> AsyncGenerator[InferenceResponse, None]:
    """The model's own answer."""
    if kind is STREAM:
        return answers.stream(model, answers.One(request))
    return _predicted(model, request, limits)


async def _noted(
    responses: AsyncGenerator[InferenceResponse, None],
    seen: SequencesSeen,
    request: InferenceRequest,
    number: int,
) -> AsyncGenerator[InferenceResponse, None]:
    """The same, noting that the model has heard of the request's sequence."""
    async with aclosing(responses):
        async for response in responses:
            if failure_of(response) is None:
                seen.asked(request, number)
            yield response


async def _predicted(
    model: MLModel, request: InferenceRequest, limits: LimitSettings
) -> AsyncGenerator[InferenceResponse, None]:
    yield await answers.predict(model, request, limits)


def marked(response: InferenceResponse, way: str) -> InferenceResponse:
    """A response that says how it came."""
    if response.parameters is None:
        response.parameters = Parameters()
    setattr(response.parameters, CACHE, way)
    return response


async def _one_by_one(
    requests: Any, begin: Callable[[InferenceRequest], Awaitable[Answer]]
) -> AsyncGenerator[Answer, None]:
    async for request in requests:
        answer = await begin(request)
        try:
            yield answer
        finally:
            answer.close()


async def _without_wishes(requests: Any) -> AsyncIterator[InferenceRequest]:
    async for request in requests:
        take_wishes(request)
        yield request
