"""The Triton dialect of the gRPC service, on a port of its own.

Requests are the same messages. Replies of a stream are Triton's own; each request is a stream of
its own to its model, and its last response says so.
https://github.com/triton-inference-server/server, docs/user_guide/decoupled_models.md
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

from mlserver.logging import logger
from mlserver.types import InferenceRequest, InferenceResponse, Parameters
from mlserver.utils import generate_uuid

from ...access.authenticator import without_secrets
from ...errors import InternalError, MLServerError, TooLargeError, failure_of
from ...models.messages import put_headers
from ...models.messages import request as request_of
from ...resume.head import Head
from ...resume.position import Position
from ...resume.reader import Reader
from ...streams import calls
from ...streams.answers import One
from ...streams.calls import NO_SLOT, TRITON
from ...streams.deadlines import timeout_seconds, within
from ...streams.finals import with_final
from ...streams.pauses import with_pauses
from ...streams.turns import in_turns
from ...tensors.json_codec import is_large
from ...tensors.steps import gathered
from ...tensors.wire_format import tag, varint
from .. import own_streams
from ..errors import Together, abort, write
from ..metadata import metadata_of, return_sequence
from ..outbox import Outbox
from ..requests import DecodedRequest, decode, named
from ..responses import encode_response, encoded_parameters, response_parts
from ..servicer import StreamingServicer
from .messages import ModelStreamInferResponse

if TYPE_CHECKING:
    from ...watch.metrics import Figures
    from ..metadata import Context

FINAL = "triton_final_response"
WANTS_EMPTY_FINAL = "triton_enable_empty_final_response"
# Of a stream that can be resumed, in its head's form.
RAW, ID, EMPTY_FINAL = "raw", "id", "empty_final"
# Call metadata that asks for a real status, and so the stream's end, at its first error.
STRICT_ERRORS = "triton_grpc_error"
# The parameter of a response that says so, as it is written.
FINALS = {
    final: encoded_parameters(Parameters.model_validate({FINAL: final})) for final in (False, True)
}
# Of ModelStreamInferResponse.
INFER_RESPONSE_TAG = tag(2, 2)


class TritonServicer(StreamingServicer):
    """`ModelStreamInfer` as Triton has it."""

    protocol = TRITON

    async def ModelStreamInfer(self, messages: AsyncIterator[bytes], context: Context) -> None:
        metadata = metadata_of(context)
        strict = metadata.get(STRICT_ERRORS) == "true"
        stream = _TritonStream(self, context, without_secrets(metadata), strict)
        try:
            if (place := metadata.get(own_streams.RESUME)) is not None:
                await self._read_on_as_triton(stream, place, messages, context, metadata)
                return
            if own_streams.is_wanted(metadata):
                await self._tell_of_streams(messages, context, metadata)
                return
            async with self._open(context, metadata) as call:
                await return_sequence(context, call)
                try:
                    async with asyncio.TaskGroup() as requests:
                        async for message in messages:
                            call.touch()
                            await stream.slots.acquire()
                            requests.create_task(stream.answer(message))
                except BaseExceptionGroup as group:
                    raise group.exceptions[0] from None
        except MLServerError as error:
            await self._refusals.hear_out(messages, context)
            await abort(context, error)

    def _about_stream(self, response: InferenceResponse) -> bytes:
        return _message(encode_response(response, False, FINALS[True]))

    async def _read_on_as_triton(
        self,
        stream: _TritonStream,
        place: Any,
        messages: AsyncIterator[bytes],
        context: Context,
        metadata: dict[str, Any],
    ) -> None:
        """Answer one who comes back to the stream of one request."""
        position = Position.read(str(place))
        run = await self._runs().find(position.stream)
        async with (
            self._open(context, metadata, NO_SLOT),
            # Triton's clients keep a stream open.
            own_streams.without_requests(messages, seconds=0) as asking,
        ):
            await stream.read_on(await self._runs().resume(position), run.head)
            if asking.done():
                asking.result()


class _TritonStream:
    """One call of `ModelStreamInfer`: its requests are answered beside one another."""

    def __init__(
        self,
        servicer: TritonServicer,
        context: Context,
        headers: dict[str, Any],
        strict: bool,
    ):
        limits = servicer._data_plane.streaming.limits
        self.slots = asyncio.Semaphore(limits.buffered_responses)
        self._servicer = servicer
        self._data_plane = servicer._data_plane
        self._headers = headers
        self._context = context
        self._own = servicer._own(context)
        self._strict = strict
        self._writing = asyncio.Lock()
        self._together = Together.of(context, _touch)

    async def answer(self, message: bytes) -> None:
        """Answer one request; its failure is its own unless the client asked otherwise."""
        begun = perf_counter_ns()
        try:
            limits = self._data_plane.streaming.limits
            request = await in_turns(decode(message, limits, self._own))
            put_headers(request.payload, dict(self._headers))
            if call := calls.current():
                call.check(request.payload)
            read_ns = perf_counter_ns() - begun
            async with within(timeout_seconds(request.payload)):
                await self._respond(request, len(message), read_ns)
        except MLServerError as error:
            await self._fail(message, error)
        except Exception:
            internal = InternalError(named(message)[2] or generate_uuid())
            logger.exception("Triton stream: %s", internal)
            await self._fail(message, internal)
        finally:
            self.slots.release()

    async def _fail(self, message: bytes, error: MLServerError) -> None:
        """Answer a request with its failure, and nothing after that."""
        outbox = self._outbox()
        outbox.put(self._failed(*named(message), error, final=True))
        await outbox.flush()

    async def _respond(self, request: DecodedRequest, size: int, read_ns: int) -> None:
        name, version, payload = request.model_name, request.model_version, request.payload
        model = await self._data_plane.model(name, version)
        figures = self._servicer._figures(model)
        figures.received.inc(size)
        self._data_plane.served(model).input_ns += read_ns
        plane = self._data_plane
        if plane.resume is not None and plane.resume.is_wanted(payload, model):
            form = {RAW: request.raw, ID: payload.id, EMPTY_FINAL: _wants_empty_final(payload)}
            at_once = plane.calls.slot_at_once
            run = plane.resume.begin(One(payload), payload, model, version, at_once, form=form)
            responses = run.join().with_ids()
        else:
            # Each message is waited for until the wire took it: turns enough.
            responses = plane.infer_stream(One(payload), name, version, take_turns=False)
        await self._write_all(responses, request, figures)

    async def read_on(self, reader: Reader, head: Head) -> None:
        """Write what one who came back to a stream has yet to hear."""
        form = head.form
        wanted = Parameters.model_validate({WANTS_EMPTY_FINAL: bool(form.get(EMPTY_FINAL))})
        payload = request_of(form.get(ID), [], wanted)
        raw = bool(form.get(RAW))
        request = DecodedRequest(head.model, head.version or "", payload, raw)
        figures = self._data_plane.metrics.of(head.model, head.served, TRITON)
        try:
            await self._write_all(reader.with_ids(), request, figures)
        except MLServerError as error:
            if self._strict:
                raise
            outbox = self._outbox()
            name, version = request.model_name, request.model_version
            outbox.put(self._failed(name, version, payload.id or "", error, final=True))
            await outbox.flush()

    async def _write_all(
        self,
        responses: AsyncGenerator[InferenceResponse, None],
        request: DecodedRequest,
        figures: Figures,
    ) -> None:
        outbox = self._outbox()
        async with aclosing(with_final(responses)) as answers:
            gathering = self._gather(answers, outbox, request, figures)
            await with_pauses(gathering, outbox.pause)

    async def _gather(
        self,
        answers: AsyncIterator[tuple[InferenceResponse, bool]],
        outbox: Outbox,
        request: DecodedRequest,
        figures: Figures,
    ) -> None:
        """Have all responses written, and an empty one where the last was not known for it."""
        name, version, payload = request.model_name, request.model_version, request.payload
        final = False
        try:
            async for response, final in answers:
                error: MLServerError | None = failure_of(response)
                if error is None:
                    try:
                        message = (
                            await self._encoded_large(response, request.raw, final, figures)
                            if is_large(response)
                            else self._encoded(response, request.raw, final, figures)
                        )
                    except TooLargeError as too_large:
                        figures.errors.inc(1)
                        error = too_large
                if error is not None:
                    message = self._failed(name, version, payload.id or "", error, final)
                if outbox.put(message):
                    await outbox.flush()
        except Exception:
            await outbox.flush()
            raise
        if not final and _wants_empty_final(payload):
            empty = InferenceResponse.model_construct(
                model_name=name, model_version=version, id=payload.id, outputs=[]
            )
            outbox.put(_message(encode_response(empty, request.raw, FINALS[True])))
        await outbox.flush()

    def _outbox(self) -> Outbox:
        limit = self._data_plane.streaming.limits.buffered_responses
        turnstile = self._data_plane.calls.turnstile
        return Outbox(self.write, self._writing, turnstile, limit, self._together)

    def _failed(
        self, name: str, version: str, request_id: str, error: MLServerError, final: bool
    ) -> bytes:
        if self._strict:
            if call := calls.current():
                call.failed = True
            raise error
        failed = InferenceResponse.model_construct(
            model_name=name, model_version=version, id=request_id, outputs=[]
        )
        whole: bytes = ModelStreamInferResponse(
            error_message=str(error), infer_response=encode_response(failed, False, FINALS[final])
        ).SerializeToString()
        return whole

    def _encoded(
        self, response: InferenceResponse, raw: bool, final: bool, figures: Figures
    ) -> bytes:
        """A response's message, its bytes counted.

        Raises:
            TooLargeError: it has more bytes than a message may have.
        """
        message = encode_response(response, raw, FINALS[final])
        self._servicer.bound.check(len(message))
        figures.sent.inc(len(message))
        return _message(message)

    async def _encoded_large(
        self, response: InferenceResponse, raw: bool, final: bool, figures: Figures
    ) -> bytes:
        """The same of a large one; it takes turns."""
        # Put together by hand: protobuf would copy it twice more.
        parts = await in_turns(response_parts(response, raw, FINALS[final]))
        size = sum(map(len, parts))
        self._servicer.bound.check(size)
        figures.sent.inc(size)
        return await in_turns(gathered([INFER_RESPONSE_TAG + varint(size), *parts]))

    async def write(self, message: bytes) -> None:
        await write(self._context, message)
        _touch()


def _touch() -> None:
    if call := calls.current():
        call.touch()


def _message(response: bytes) -> bytes:
    """A ModelStreamInferResponse with nothing but a response."""
    return b"".join((INFER_RESPONSE_TAG, varint(len(response)), response))


def _wants_empty_final(payload: InferenceRequest) -> bool:
    parameters = payload.parameters
    return bool(parameters and (parameters.model_extra or {}).get(WANTS_EMPTY_FINAL))
