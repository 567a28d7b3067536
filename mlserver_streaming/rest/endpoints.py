"""The inference calls of the REST edge: bytes in, a response that knows how to send itself out."""

import asyncio
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from functools import partial
from time import monotonic, perf_counter_ns
from typing import NamedTuple

from mlserver import MLModel
from mlserver.types import InferenceRequest, InferenceResponse
from starlette.requests import Request
from starlette.routing import Route
from starlette.types import ASGIApp, Send

from ..access.authenticator import without_secrets
from ..errors import MLServerError
from ..models.messages import put_headers
from ..streams import calls
from ..streams.answers import One
from ..streams.calls import REST, Call
from ..streams.data_plane import StreamingDataPlane
from ..streams.headers import Field
from ..streams.room import Loan
from ..streams.turns import in_turns
from ..tensors.json_pieces import SMALL_BODY_BYTES
from ..tensors.steps import finish
from ..watch.metrics import Figures
from ..watch.statistics import Served
from . import binary
from .accepting import accepts_gzip, framing_for
from .answer import cut_off, send_answer, send_json_at_once
from .asked import App
from .binary import BinaryOutputs
from .body import is_here, read_body, room_of
from .events import JSON, Answers, EventStreamResponse
from .hang_up import stop_on_hang_up, unless_hung_up
from .kept_streams import LAST_EVENT_ID, KeptStreams, form_of, wants_no_answer
from .read_request import read_request
from .request_stream.coming import splitter_for
from .request_stream.endpoint import RequestStreamEndpoint
from .shared_memory import regions_of

UNARY_CALLS = ("infer", "generate")
STREAM_CALLS = ("infer_stream", "generate_stream")
# The calls that take the flat form too.
GENERATE_CALLS = ("generate", "generate_stream")
JSON_TYPE = "application/json"
LENGTH_FIELD = binary.HEADER.lower().encode()
# What is borrowed for a body that is here.
NOTHING = nullcontext()


class Question(NamedTuple):
    """A request as it came over REST, and how its responses are to be written.

    Attributes:
        waited: whether other tasks have had a turn since `model` was looked up.
    """

    payload: InferenceRequest
    model: MLModel
    answers: Answers
    outputs: BinaryOutputs | None
    figures: Figures
    waited: bool
    served: Served


class InferenceEndpoints:
    """`infer`, `generate`, `infer_stream`, `generate_stream`, each with and without a version."""

    def __init__(self, data_plane: StreamingDataPlane, gzip: bool, kept: KeptStreams):
        """
        Args:
            kept: the streams that outlive their connections.
        """
        self._data_plane = data_plane
        self._gzip = gzip
        self._request_stream = RequestStreamEndpoint(data_plane, gzip)
        self._kept = kept

    def calls(self) -> dict[str, ASGIApp]:
        """The calls by their names, as apps that are told of the model in `path_params`."""
        calls: dict[str, ASGIApp] = {name: App(self.infer) for name in UNARY_CALLS}
        return calls | {name: App(self.infer_stream) for name in STREAM_CALLS}

    def routes(self) -> list[Route]:
        return [
            Route(f"{base}/{name}", call, methods=["POST"], include_in_schema=False)
            for name, call in self.calls().items()
            for base in (
                "/v2/models/{model_name}",
                "/v2/models/{model_name}/versions/{model_version}",
            )
        ]

    async def infer(self, request: Request, send: Send) -> None:
        name, version = _model(request)
        has_begun = False
        try:
            async with self._open(request) as call:
                question = await self._question(request, name, version)
                model = question.model
                parts: Sequence[bytes | memoryview] = ()
                lines: bytes | None = None
                with stop_on_hang_up(request.receive, request.scope) as watching:
                    if question.waited:
                        model = await self._data_plane.model(name, version)
                    response = await self._data_plane.answer(question.payload, model)
                    if question.outputs is None and not (call.request_id or call.sequence):
                        lines = self._data_plane.lines_to(response, model)
                    if lines is None:
                        fields = self._fields(response, model, call)
                    begun = perf_counter_ns()
                    kind = JSON_TYPE
                    if question.outputs is not None:
                        written = question.outputs.written(response)
                        parts, json_length = await in_turns(written)
                        fields.append((LENGTH_FIELD, b"%d" % json_length))
                        kind = binary.MEDIA_TYPE
                    elif (body := question.answers.encode(response)) is not None:
                        parts = (body,)
                    else:
                        parts = list(await in_turns(question.answers.written(response)))
                    question.served.output_ns += perf_counter_ns() - begun
                    size = sum(map(len, parts))
                    self._data_plane.rest_bound.check(size)
                    question.figures.sent.inc(size)
                if not watching.hung_up:
                    has_begun = True
                    # The call goes on until its answer is sent.
                    if lines is not None:
                        if send_json_at_once(send, parts, size, lines, self._gzip):
                            return
                        fields = self._fields(response, model, call)
                    fields.append((b"content-type", kind.encode()))
                    await send_answer(
                        request.scope,
                        request.receive,
                        send,
                        parts,
                        fields,
                        call.touch,
                        self._gzip,
                    )
        except MLServerError:
            if not has_begun:
                raise
            await cut_off(request.scope, send)

    def _fields(self, response: InferenceResponse, model: MLModel, call: Call) -> list[Field]:
        """The headers of an answer, its caller's own among them."""
        fields, returned = self._data_plane.fields_to(response, model), call.returned
        if returned:
            fields = [each for each in fields if each[0].decode() not in returned]
            fields += [(name.encode(), id.encode()) for name, id in returned.items()]
        return fields

    async def infer_stream(self, request: Request, send: Send) -> None:
        name, version = _model(request)
        if request.headers.get(LAST_EVENT_ID):
            await self._kept.read(request, send, of=name)
            return
        kind = request.headers.get("content-type", JSON_TYPE)
        if kind != JSON_TYPE and (splitter := splitter_for(kind)) is not None:
            await self._request_stream(request, send, splitter)
            return
        events: EventStreamResponse | None = None
        try:
            async with self._open(request) as call:
                question = await self._question(request, name, version)
                streaming, resume = self._data_plane.streaming, self._data_plane.resume
                sent = question.figures.sent
                if resume is not None and resume.is_wanted(question.payload, question.model):
                    payload, form = question.payload, form_of(question.answers)
                    run = resume.begin(
                        One(payload), payload, question.model, version, call.hand_over, form=form
                    )
                    if wants_no_answer(request):
                        await self._kept.begun(run, request, send)
                        return
                    events = self._kept.events(run.join(), run, request, call)
                    await events.run(request.scope, request.receive, send)
                    return

                def touch(size: int) -> None:
                    call.last = monotonic()  # as `call.touch`
                    sent.inc(size)

                events = EventStreamResponse(
                    self._data_plane.infer_stream(
                        One(question.payload),
                        name,
                        version,
                        take_turns=False,
                        model=None if question.waited else question.model,
                    ),
                    rotation=self._data_plane.rotation,
                    # Events are text: outputs that were wanted as bytes come as JSON.
                    answers=question.answers,
                    bound=self._data_plane.rest_bound,
                    grace=streaming.first_response_grace_seconds,
                    keepalive=streaming.keepalive_seconds,
                    gzip=self._gzip and accepts_gzip(request),
                    touch=touch,
                    headers=call.returned,
                    framing=framing_for(request),
                    served=question.served,
                )
                await events.run(request.scope, request.receive, send)
        except MLServerError as error:
            if events is None:
                raise
            await events.end_with(error, request.scope)

    def _open(self, request: Request) -> AbstractAsyncContextManager[Call]:
        return self._data_plane.calls.open(REST, request.headers)

    async def _question(self, request: Request, name: str, version: str | None) -> Question:
        # Before the body is read: an unknown model is not worth its bytes.
        model = await self._data_plane.model(name, version)
        limits = self._data_plane.streaming.limits
        waits = not is_here(request)
        # What a packed body has become is not bounded by what came: it is read before others are.
        with Loan(room_of(request).unpacked) if waits else NOTHING as unpacked:
            body = await read_body(request, limits.request_bytes, unpacked)
            came, begun = asyncio.get_running_loop().time(), perf_counter_ns()
            may_be_flat = request.scope["path"].rpartition("/")[2] in GENERATE_CALLS
            reading = read_request(
                body,
                request.headers.get(binary.HEADER),
                limits,
                (model.inputs or []) if may_be_flat else None,
                partial(regions_of, self._data_plane.regions, request),
            )
            waits = waits or len(body) >= SMALL_BODY_BYTES
            if not waits:
                payload, outputs, answers = finish(reading)
            else:
                payload, outputs, answers = await unless_hung_up(
                    request.receive, in_turns(reading), request.scope
                )
        call = calls.current()
        if call is not None:
            call.take(payload, came)
        put_headers(payload, without_secrets(request.headers))
        figures = self._data_plane.metrics.of(name, model.version, REST)
        figures.received.inc(len(body))
        served = self._data_plane.served(model)
        served.input_ns += perf_counter_ns() - begun
        if answers is not None:
            return Question(payload, model, answers, None, figures, waits, served)
        as_bytes = outputs if outputs.any else None
        return Question(payload, model, JSON, as_bytes, figures, waits, served)


def _model(request: Request) -> tuple[str, str | None]:
    return request.path_params["model_name"], request.path_params.get("model_version")
