"""One gRPC stream, several models: each model's requests are a stream of their own.

The reader of the wire hands each request to its model's substream; every substream is a task that
writes its responses as they come. A model that fails ends its own requests only. Where a stream has
but one model, that model's failure is the stream's, with a real status.

A request with a `timeout` is a stream of its own to its model, as on Triton's port: when its answer
is whole is known then, and ending it ends nothing else. Models still meet requests in the order of
the wire: it begins when those before it have been read, and what comes after it waits until it is.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any, Protocol

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mlserver import MLModel
from mlserver.logging import logger
from mlserver.types import InferenceRequest, InferenceResponse, Parameters
from mlserver.utils import generate_uuid

from ..errors import InternalError, MLServerError, TooLargeError, failure_of
from ..streams.data_plane import StreamingDataPlane
from ..streams.deadlines import timeout_seconds, within
from ..streams.pauses import with_pauses
from ..tensors.json_codec import is_large
from .converters import DecodedRequest
from .outbox import Outbox
from .reading import Reading

# Requests that wait for a model; past it the wire is not read, which stops the client.
REQUESTS_AHEAD = 2
# When the first answer of a stream is a failure: how long to wait for the client to say whether
# it has more to ask. A client that has not is told by the stream's status.
SOLE_REQUEST_SECONDS = 0.25


class Wire(Protocol):
    """Where a stream's messages go."""

    def encode(self, response: InferenceResponse, raw: bool, model: MLModel | None) -> Any:
        """The message for a response, its tensors raw or not, of a model if there is such a one;
        something that has a length.

        Raises:
            TooLargeError: it is larger than a message may be.
        """

    async def encode_large(
        self, response: InferenceResponse, raw: bool, model: MLModel | None
    ) -> Any:
        """The same for a response that may be large: it takes turns."""

    def failed(self, model: MLModel) -> None:
        """One of a model's requests has failed on its way out."""

    async def write(self, message: Any) -> None:
        """Send a message; returns when the wire took it."""


class ModelEnded(Exception):
    """The stream's only model has said all that it has to say."""


class Substreams:
    """The substreams of one gRPC stream.

    Use it as a context manager around the reading of the wire: leaving it waits for the models to
    finish.
    """

    def __init__(self, data_plane: StreamingDataPlane, wire: Wire):
        self._data_plane = data_plane
        self._wire = wire
        self._writing = asyncio.Lock()
        self._tasks = asyncio.TaskGroup()
        self._inputs: dict[tuple[str, str], MemoryObjectSendStream[InferenceRequest]] = {}
        self._models: set[tuple[str, str]] = set()
        self._served: dict[tuple[str, str], MLModel] = {}
        self._timed = asyncio.Semaphore(data_plane.streaming.limits.buffered_responses)
        self._any_timed = False
        self._requests = 0
        self._read = asyncio.Event()
        self._more_or_end = asyncio.Event()
        self._ended = False
        self._wrote = False

    async def __aenter__(self) -> "Substreams":
        await self._tasks.__aenter__()
        return self

    async def __aexit__(self, *exception: object) -> bool:
        self._ended = True
        self._more_or_end.set()
        for requests in self._inputs.values():
            requests.close()
        try:
            await self._tasks.__aexit__(*exception)  # type: ignore[arg-type]
        except BaseExceptionGroup as group:
            first = group.exceptions[0]
            if not isinstance(first, ModelEnded):
                raise first from first.__cause__
            return True
        return False

    async def put(self, request: DecodedRequest) -> MLModel | None:
        """Hand a request to its model; waits while the model has enough to do.

        Returns:
            the model, where there is such a one.

        Raises:
            MLServerError: there is no such model, and nothing else on this stream.
        """
        self.count()
        model = (request.model_name, request.model_version)
        if len(self._models) < 2:  # one, or several: all that is asked of it
            self._models.add(model)
        try:
            seconds = timeout_seconds(request.payload)
            if seconds is not None:
                return await self._put_timed(request, seconds)
        except MLServerError as error:
            await self.fail(request.model_name, request.payload.id or "", error)
            return None
        while (requests := self._inputs.get(model)) is not None:
            try:
                await requests.send(request.payload)
                return self._served[model]
            except anyio.BrokenResourceError:
                # The model ended its stream before this request: the request begins another.
                self._inputs.pop(model).close()
        try:
            self._served[model] = await self._data_plane.model(*model)
            resumable = self._resumable(request.payload, self._served[model])
        except MLServerError as error:
            await self.fail(request.model_name, request.payload.id or "", error)
            return None
        send, receive = anyio.create_memory_object_stream[InferenceRequest](REQUESTS_AHEAD)
        # Before the model runs: one that reads nothing would be begun again and again for it.
        send.send_nowait(request.payload)
        self._inputs[model] = send
        self._tasks.create_task(self._run(model, receive, request.raw, resumable))
        return self._served[model]

    def read_on(self, rest: AsyncGenerator[InferenceResponse, None], raw: bool) -> None:
        """Write what one who came back to a stream has yet to hear. Nothing is asked besides."""
        self._wrote = True  # before, elsewhere
        self._tasks.create_task(self._read_on(rest, raw))

    async def _read_on(self, rest: AsyncGenerator[InferenceResponse, None], raw: bool) -> None:
        outbox = self._outbox()
        async with aclosing(rest) as responses:
            await with_pauses(self._gather(responses, outbox, raw, None), outbox.flush)
        if not self._ended:
            raise ModelEnded

    def _resumable(self, first: InferenceRequest, model: MLModel) -> InferenceRequest | None:
        """The first request of a stream, if that is to be resumable.

        Raises:
            BadRequestError: it does not say so in a way that can be understood.
        """
        resume = self._data_plane.resume
        return first if resume is not None and resume.is_wanted(first, model) else None

    async def _put_timed(self, request: DecodedRequest, seconds: float) -> MLModel:
        """Begin a stream for this request alone; return when its model has read it, or it ended.

        Raises:
            MLServerError: there is no such model.
        """
        model = (request.model_name, request.model_version)
        served = self._served[model] = await self._data_plane.model(*model)
        self._any_timed = True
        met = asyncio.Event()
        self._tasks.create_task(self._run_timed(request, seconds, met))
        await met.wait()
        return served

    async def fail(self, model_name: str, request_id: str, error: MLServerError) -> None:
        """Answer one request with an error of its own; the first of a stream with a status.

        Raises:
            MLServerError: `error` itself, where nothing else is on this stream.
        """
        if self._requests <= 1:
            raise error
        await self._write(_failure(model_name, request_id, error), False, None)

    def count(self) -> None:
        """Another message has come, well-formed or not."""
        self._requests += 1
        if self._requests > 1:
            self._more_or_end.set()

    async def _run(
        self,
        model: tuple[str, str],
        requests: MemoryObjectReceiveStream[InferenceRequest],
        raw: bool,
        resumable: InferenceRequest | None,
    ) -> None:
        """Drive one model until it has answered all its requests."""
        reading = Reading(requests, self._read)
        try:
            while True:
                await self._answer(model, reading, raw, resumable)
                if not self._ended and self._is_only():
                    raise ModelEnded
                if not reading.has_more():
                    return
                # The model ended its stream before these requests: they begin another.
                reading = Reading(requests, self._read)
        except ModelEnded:
            raise
        except Exception as error:
            known = _for_caller(error, reading.last_id)
            if self._is_only():
                raise known  # noqa: B904 - its cause, where it has one, is set
            unanswered = reading.unanswered()
            # Now, before anything is awaited: a request that is put from here on begins another
            # stream to the model instead of waiting for this one.
            requests.close()
            for request_id in unanswered:
                await self._write(_failure(model[0], request_id, known), raw, self._served[model])
        finally:
            requests.close()
            self._read.set()

    async def _run_timed(self, request: DecodedRequest, seconds: float, met: asyncio.Event) -> None:
        """Answer one request within its `timeout`; its failure is its own."""
        model, payload = (request.model_name, request.model_version), request.payload
        send, receive = anyio.create_memory_object_stream[InferenceRequest](1)
        send.send_nowait(payload)
        send.close()
        try:
            async with within(seconds), self._timed:
                await self._all_read(model)
                resumable = self._resumable(payload, self._served[model])
                await self._answer(model, Reading(receive, met), request.raw, resumable)
        except Exception as error:
            known = _for_caller(error, payload.id)
            if await self._is_sole():
                raise known  # noqa: B904 - its cause, where it has one, is set
            failure = _failure(model[0], payload.id or "", known)
            await self._write(failure, request.raw, self._served[model])
        finally:
            receive.close()
            met.set()

    async def _all_read(self, model: tuple[str, str]) -> None:
        """Wait until a model has read the requests that were put before."""
        while (requests := self._inputs.get(model)) is not None:
            waiting = requests.statistics()
            if not waiting.current_buffer_used or not waiting.open_receive_streams:
                return
            self._read.clear()
            await self._read.wait()

    async def _answer(
        self,
        model: tuple[str, str],
        reading: Reading,
        raw: bool,
        resumable: InferenceRequest | None,
    ) -> None:
        """Write what a model answers, from the beginning of its stream to the end."""
        outbox = self._outbox()
        if resumable is not None:
            plane, served = self._data_plane, self._served[model]
            at_once, form = plane.calls.slot_at_once, {"raw": raw}
            run = plane.resume.begin(reading, resumable, served, model[1], at_once, form=form)
            stream = run.join().with_ids()
        else:
            # Each message is waited for until the wire took it: turns enough.
            stream = self._data_plane.infer_stream(reading, *model, take_turns=False)
        async with aclosing(stream) as responses:
            await with_pauses(
                self._gather(responses, outbox, raw, self._served[model]), outbox.flush
            )

    async def _gather(
        self,
        responses: AsyncIterator[InferenceResponse],
        outbox: Outbox,
        raw: bool,
        model: MLModel | None,
    ) -> None:
        """Have all responses written; a failure that is the stream's only answer is raised."""
        held: InferenceResponse | None = None
        try:
            async for response in responses:
                if held is not None:
                    outbox.put(self._wire.encode(held, raw, model))  # a failure has no outputs
                    held = None
                elif not self._wrote and failure_of(response) and await self._is_sole():
                    held = response
                    continue
                wrote, self._wrote = self._wrote, True
                try:
                    message = (
                        await self._wire.encode_large(response, raw, model)
                        if is_large(response)
                        else self._wire.encode(response, raw, model)
                    )
                except TooLargeError as error:
                    if model is not None:
                        self._wire.failed(model)
                    failure = _failure(response.model_name, response.id or "", error)
                    if not wrote and await self._is_sole():
                        held = failure
                        continue
                    message = self._wire.encode(failure, raw, model)
                if outbox.put(message):
                    await outbox.flush()
        except Exception:
            await outbox.flush()
            raise
        await outbox.flush()
        if held is not None and (sole := failure_of(held)):
            raise sole

    def _outbox(self) -> Outbox:
        limit = self._data_plane.streaming.limits.buffered_responses
        return Outbox(self._wire.write, self._writing, self._data_plane.calls.turnstile, limit)

    def _is_only(self) -> bool:
        """Whether all that was asked goes to one model, in one stream."""
        return len(self._models) == 1 and not self._any_timed

    async def _is_sole(self) -> bool:
        """Whether the stream's first request is its only one."""
        try:
            async with asyncio.timeout(SOLE_REQUEST_SECONDS):
                await self._more_or_end.wait()
        except TimeoutError:
            return False
        return self._ended and self._requests == 1

    async def _write(self, response: InferenceResponse, raw: bool, model: MLModel | None) -> None:
        self._wrote = True
        outbox = self._outbox()
        outbox.put(self._wire.encode(response, raw, model))
        await outbox.flush()


def _for_caller(error: Exception, request_id: str | None) -> MLServerError:
    """What the caller may know of an error; what it may not know is logged."""
    if isinstance(error, MLServerError):
        return error
    internal = InternalError(request_id or generate_uuid())
    internal.__cause__ = error
    logger.error("gRPC stream: %s", internal, exc_info=error)
    return internal


def _failure(model_name: str, request_id: str, error: MLServerError) -> InferenceResponse:
    parameters: dict[str, Any] = {"error": str(error), "error_code": error.status_code}
    return InferenceResponse.model_construct(
        model_name=model_name, id=request_id, parameters=Parameters(**parameters), outputs=[]
    )
