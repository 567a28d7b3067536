"""One connection, several models: each model's requests are a stream of their own.

The reader of the wire hands each request to its model's common stream; each is a task that writes
its responses as they come. A model that fails ends its own requests only. On gRPC, where a stream
has but one model, that model's failure is the stream's, with a real status.

A request with a `timeout` is a stream of its own to its model, as on Triton's port: when its answer
is whole is known then, and ending it ends nothing else. Models still meet requests in the order of
the wire: it begins when those before it have been read, and what comes after it waits until it is.
A request may also ask for a stream of its own: that one keeps no order.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream
from mlserver import MLModel
from mlserver.types import InferenceRequest, InferenceResponse

from ..errors import MLServerError, RequestCancelledError
from .answers import One
from .common_stream import CommonStream
from .data_plane import StreamingDataPlane
from .deadlines import timeout_seconds, within
from .failures import failure_answer, for_caller
from .own_stream import Met, OwnStream
from .pauses import with_pauses
from .reading import Reading
from .recent_requests import RecentRequest, RecentRequests
from .response_writer import ResponseWriter
from .wire import Rest, Routed, Wire

# Requests that wait for a model; past it the wire is not read, which stops the client.
REQUESTS_AHEAD = 2

ModelKey = tuple[str, str]
"""A model's name and version."""


class ModelEnded(Exception):
    """The stream's only model has said all that it has to say."""


class Substreams:
    """The streams of one connection to its models.

    Use it as a context manager around the reading of the wire: leaving it waits for the models to
    finish.
    """

    def __init__(self, data_plane: StreamingDataPlane, wire: Wire, lasting: bool = False):
        """
        Args:
            lasting: the connection outlives its models' streams: each failure is an answer, and
                requests can be cancelled. Otherwise a stream that has one model ends with it.
        """
        self._data_plane = data_plane
        self._wire = wire
        self._lasting = lasting
        self._tasks = asyncio.TaskGroup()
        self._inputs: dict[ModelKey, CommonStream] = {}
        self._models: set[ModelKey] = set()
        self._served: dict[ModelKey, MLModel] = {}
        self._recent = RecentRequests() if lasting else None
        self._writer = ResponseWriter(wire, lasting, self._recent)
        self._own: set[OwnStream] = set()
        self._slots = asyncio.Semaphore(data_plane.streaming.limits.buffered_responses)
        self._any_own = False
        self._read = asyncio.Event()

    async def __aenter__(self) -> "Substreams":
        await self._tasks.__aenter__()
        return self

    async def __aexit__(self, *exception: object) -> bool:
        self._writer.end()
        for common in self._inputs.values():
            common.send.close()
        try:
            await self._tasks.__aexit__(*exception)  # type: ignore[arg-type]
        except BaseExceptionGroup as group:
            first = group.exceptions[0]
            if not isinstance(first, ModelEnded):
                raise first from first.__cause__
            return True
        return False

    async def put(self, request: Routed, own: bool = False) -> MLModel | None:
        """Hand a request to its model; waits while the model has enough to do.

        Args:
            own: as a stream of its own.

        Returns:
            the model, where there is such a one.

        Raises:
            MLServerError: there is no such model, and nothing else on this stream.
        """
        self._writer.count()
        model, payload = (request.model_name, request.model_version), request.payload
        if len(self._models) < 2:  # one, or several: all that is asked of it
            self._models.add(model)
        try:
            seconds = timeout_seconds(payload)
            if own or seconds is not None:
                return await self._put_own(request, seconds, in_order=not own)
        except MLServerError as error:
            await self.fail(model[0], payload.id or "", error, request.form, own)
            return None
        while (common := self._inputs.get(model)) is not None:
            try:
                self._remember(request, common)
                try:
                    # Where there is room: `send` lets the loop go round first.
                    common.send.send_nowait(payload)
                except anyio.WouldBlock:
                    await common.send.send(payload)
                return self._served[model]
            except anyio.BrokenResourceError:
                # The model ended its stream before this request: the request begins another.
                self._inputs.pop(model).send.close()
        try:
            self._served[model] = await self._data_plane.model(*model)
            resumable = self._resumable(payload, self._served[model])
        except MLServerError as error:
            await self.fail(model[0], payload.id or "", error, request.form)
            return None
        send, receive = anyio.create_memory_object_stream[InferenceRequest](REQUESTS_AHEAD)
        common = self._inputs[model] = CommonStream(model[0], send, Reading(receive, self._read))
        # Before the model runs: one that reads nothing would be begun again and again for it.
        self._remember(request, common)
        send.send_nowait(payload)
        common.task = self._tasks.create_task(
            self._run(model, common, receive, request.form, resumable)
        )
        return self._served[model]

    def read_on(self, rest: AsyncGenerator[InferenceResponse, None], form: Any) -> None:
        """Write what one who came back to a stream has yet to hear. Nothing is asked besides."""
        self._writer.wrote = True  # before, elsewhere
        self._tasks.create_task(self._read_on(rest, form))

    async def _read_on(self, rest: AsyncGenerator[InferenceResponse, None], form: Any) -> None:
        outbox = self._wire.outbox(None)
        async with aclosing(rest) as responses:
            await with_pauses(
                self._writer.gather(responses, outbox, form, None, None), outbox.pause
            )
        if not self._writer.has_ended:
            raise ModelEnded

    async def read_beside(self, own: OwnStream, rest: Rest) -> None:
        """The same on a connection that lasts, beside its other streams; returns when it has a
        slot. What goes wrong is the answer."""
        self._writer.count()
        met = asyncio.Event()
        self._own.add(own)
        self._tasks.create_task(self._read_beside(own, rest, met))
        await met.wait()

    async def _read_beside(self, own: OwnStream, rest: Rest, met: asyncio.Event) -> None:
        try:
            with own:
                async with self._slots:
                    met.set()
                    own.run, found = await rest.open()
                    outbox = self._wire.outbox(None)
                    async with aclosing(found) as responses:
                        gathering = self._writer.gather(responses, outbox, rest.form, None, own)
                        await with_pauses(gathering, outbox.pause)
        except Exception as error:
            if own.run is None and isinstance(error, RequestCancelledError):
                error = await self._cancelled(rest, error)
            failure = failure_answer(rest.model_name, own.id, for_caller(error, own.id))
            await self._writer.write(failure, rest.form, None, True)
        finally:
            self._own.discard(own)
            met.set()

    async def _cancelled(self, rest: Rest, error: Exception) -> Exception:
        """End a run whose rest was cancelled before it was found; what is to be said of it."""
        try:
            await rest.cancel()
        except Exception as failed:
            return failed
        return error

    def _resumable(self, first: InferenceRequest, model: MLModel) -> InferenceRequest | None:
        """The first request of a stream, if that is to outlive its connection.

        Raises:
            BadRequestError: it does not say so in a way that can be understood.
        """
        resume = self._data_plane.resume
        return first if resume is not None and resume.is_wanted(first, model) else None

    def _remember(self, request: Routed, common: CommonStream) -> None:
        common.put += 1
        if self._recent is not None:
            self._recent.add(request.payload.id or "", RecentRequest(common, request.form))

    async def _put_own(self, request: Routed, seconds: float | None, in_order: bool) -> MLModel:
        """Begin a stream for this request alone; return when it has a slot or, in the order of the
        wire, when its model has read it.

        Raises:
            MLServerError: there is no such model.
        """
        model = (request.model_name, request.model_version)
        served = self._served[model] = await self._data_plane.model(*model)
        self._any_own = True
        met = asyncio.Event()
        own = OwnStream(request.payload.id or "")
        self._own.add(own)
        self._tasks.create_task(self._run_own(request, own, seconds, met, in_order))
        await met.wait()
        return served

    async def cancel(self, request_id: str) -> None:
        """Answer a request no further, and stop its model where that works for no other. One that
        is over, or that nobody knows, is left alone."""
        for own in self._own:
            if own.id == request_id:
                own.cancel()
                return
        asked = self._recent.of(request_id) if self._recent is not None else None
        if asked is None or asked.is_cancelled or asked.common.is_over():
            return
        common, reading = asked.common, asked.common.reading
        asked.is_cancelled = True
        if asked.number > reading.count:
            reading.skip(asked.number)
        elif reading.met == 1 and reading.count == asked.number:
            common.cut()
        failure = failure_answer(common.model_name, request_id, RequestCancelledError())
        await self._writer.write(failure, asked.form, None)

    async def fail(
        self,
        model_name: str,
        request_id: str,
        error: MLServerError,
        form: Any = False,
        own: bool = False,
    ) -> None:
        """Answer one request with an error of its own; the first of a stream with a status.

        Raises:
            MLServerError: `error` itself, where nothing else is on this stream.
        """
        if self._writer.requests <= 1 and not self._lasting:
            raise error
        await self._writer.write(failure_answer(model_name, request_id, error), form, None, own)

    def count(self) -> None:
        """Another message has come, well-formed or not."""
        self._writer.count()

    async def _run(
        self,
        model: ModelKey,
        common: CommonStream,
        requests: MemoryObjectReceiveStream[InferenceRequest],
        form: Any,
        resumable: InferenceRequest | None,
    ) -> None:
        """Drive one model until it has answered all its requests."""
        reading = common.reading
        try:
            while True:
                try:
                    await self._answer(model, reading, form, common, resumable)
                except asyncio.CancelledError:
                    if not common.was_cut():
                        raise
                if not self._writer.has_ended and self._is_only():
                    raise ModelEnded
                if not reading.has_more():
                    return
                # The model ended its stream before these requests: they begin another.
                reading.begin_again()
        except ModelEnded:
            raise
        except Exception as error:
            known = for_caller(error, reading.last_id)
            if self._is_only():
                raise known  # noqa: B904 - its cause, where it has one, is set
            unanswered = reading.unanswered()
            # Now, before anything is awaited: a request that is put from here on begins another
            # stream to the model instead of waiting for this one.
            requests.close()
            for request_id in unanswered:
                asked = self._recent.of(request_id) if self._recent is not None else None
                if asked is None or not asked.is_cancelled:
                    failure = failure_answer(model[0], request_id, known)
                    await self._writer.write(
                        failure, asked.form if asked else form, self._served[model]
                    )
        finally:
            requests.close()
            self._read.set()

    async def _run_own(
        self,
        request: Routed,
        own: OwnStream,
        seconds: float | None,
        met: asyncio.Event,
        in_order: bool,
    ) -> None:
        """Answer one request within its `timeout`; its failure is its own."""
        model, payload = (request.model_name, request.model_version), request.payload
        try:
            with own:
                async with within(seconds), self._slots:
                    requests: Any = One(payload)
                    if in_order:
                        await self._all_read(model)
                        requests = Met(payload, met)
                    else:
                        met.set()
                    resumable = self._resumable(payload, self._served[model])
                    await self._answer(model, requests, request.form, own, resumable)
        except Exception as error:
            known = for_caller(error, payload.id)
            if await self._writer.is_sole():
                raise known  # noqa: B904 - its cause, where it has one, is set
            failure = failure_answer(model[0], payload.id or "", known)
            await self._writer.write(failure, request.form, self._served[model], True)
        finally:
            self._own.discard(own)
            met.set()

    async def _all_read(self, model: ModelKey) -> None:
        """Wait until a model has read the requests that were put before."""
        while (common := self._inputs.get(model)) is not None:
            waiting = common.send.statistics()
            if not waiting.current_buffer_used or not waiting.open_receive_streams:
                return
            self._read.clear()
            await self._read.wait()

    async def _answer(
        self,
        model: ModelKey,
        requests: Any,
        form: Any,
        asked: OwnStream | CommonStream,
        resumable: InferenceRequest | None,
    ) -> None:
        """Write what a model answers, from the beginning of its stream to the end."""
        outbox = self._wire.outbox(self._served[model])
        own = asked if isinstance(asked, OwnStream) else None
        if resumable is not None:
            plane, served = self._data_plane, self._served[model]
            at_once = plane.calls.slot_at_once
            kept = self._wire.kept(form)
            run = plane.resume.begin(requests, resumable, served, model[1], at_once, form=kept)
            asked.run = run
            stream = run.join().with_ids()
        else:
            # The wire sees to the turns.
            stream = self._data_plane.infer_stream(requests, *model, take_turns=False)
        figures = self._data_plane.served(self._served[model])
        async with aclosing(stream) as responses:
            gathering = self._writer.gather(
                responses, outbox, form, self._served[model], own, figures
            )
            await with_pauses(gathering, outbox.pause)

    def _is_only(self) -> bool:
        """Whether all that was asked goes to one model, in one stream."""
        return len(self._models) == 1 and not self._any_own and not self._lasting
