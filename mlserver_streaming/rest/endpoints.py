"""The inference calls of the REST edge: bytes in, a response that knows how to send itself out."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from urllib.parse import quote

from mlserver.types import InferenceRequest, InferenceResponse
from mlserver.utils import insert_headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ..access.authenticator import without_secrets
from ..streams import calls
from ..streams.answers import One
from ..streams.calls import REQUEST_ID, REST, Call
from ..streams.data_plane import StreamingDataPlane
from ..streams.headers import headers_of
from ..tensors.json_codec import decode_request, encode_response, parse_json
from ..watch.metrics import Figures
from . import binary
from .answer import AnswerResponse
from .binary import BinaryOutputs
from .body import read_body
from .events import EventStreamResponse
from .generate import FlatAnswers, is_flat, unflatten
from .hang_up import stop_on_hang_up

UNARY_CALLS = ("infer", "generate")
STREAM_CALLS = ("infer_stream", "generate_stream")
# The calls that take the flat form too.
GENERATE_CALLS = ("generate", "generate_stream")
# What a client that has gone is answered, for the access log only: nginx's code for it.
CLIENT_CLOSED_REQUEST = 499
PRINTABLE = "".join(map(chr, range(0x20, 0x7F)))


@dataclass(frozen=True, slots=True)
class Question:
    """A request as it came over REST, and how its responses are to be written."""

    payload: InferenceRequest
    encode: Callable[[InferenceResponse], bytes]
    outputs: BinaryOutputs | None
    figures: Figures


class InferenceEndpoints:
    """`infer`, `generate`, `infer_stream`, `generate_stream`, each with and without a version."""

    def __init__(self, data_plane: StreamingDataPlane, gzip: bool):
        self._data_plane = data_plane
        self._gzip = gzip

    def routes(self) -> list[Route]:
        calls = {name: self.infer for name in UNARY_CALLS}
        calls |= {name: self.infer_stream for name in STREAM_CALLS}
        return [
            Route(f"{base}/{name}", endpoint, methods=["POST"], include_in_schema=False)
            for name, endpoint in calls.items()
            for base in (
                "/v2/models/{model_name}",
                "/v2/models/{model_name}/versions/{model_version}",
            )
        ]

    async def infer(self, request: Request) -> Response:
        name, version = _model(request)
        async with AsyncExitStack() as stack:
            call = await stack.enter_async_context(self._open(request))
            question = await self._question(request, name, version)
            with stop_on_hang_up(request.receive):
                response = await self._data_plane.infer(question.payload, name, version)
                headers = {**_headers(response), **_request_id(call)}
                if question.outputs is None:
                    body, kind = question.encode(response), "application/json"
                else:
                    body, json_length = question.outputs.encode(response)
                    headers[binary.HEADER] = str(json_length)
                    kind = binary.MEDIA_TYPE
                question.figures.sent.inc(len(body))
                # The call goes on until its answer is sent.
                return AnswerResponse(body, kind, headers, stack.pop_all(), call.touch)
        return Response(status_code=CLIENT_CLOSED_REQUEST)

    async def infer_stream(self, request: Request) -> Response:
        name, version = _model(request)
        async with AsyncExitStack() as stack:
            call = await stack.enter_async_context(self._open(request))
            question = await self._question(request, name, version)
            streaming = self._data_plane.streaming
            sent = question.figures.sent

            def touch(size: int) -> None:
                call.touch()
                sent.inc(size)

            return EventStreamResponse(
                self._data_plane.infer_stream(
                    One(question.payload), name, version, take_turns=False
                ),
                turn_seconds=lambda: self._data_plane.turn_seconds,
                # Events are text: outputs that were wanted as bytes come as JSON.
                encode=question.encode,
                grace=streaming.first_response_grace_seconds,
                keepalive=streaming.keepalive_seconds,
                gzip=self._gzip and _accepts_gzip(request),
                # The call goes on until the response is done.
                call=stack.pop_all(),
                touch=touch,
                headers=_request_id(call),
            )
        raise AssertionError("the stack swallows nothing")

    def _open(self, request: Request) -> AbstractAsyncContextManager[Call]:
        return self._data_plane.calls.open(REST, request.headers)

    async def _question(self, request: Request, name: str, version: str | None) -> Question:
        # Before the body is read: an unknown model is not worth its bytes.
        model = await self._data_plane.model(name, version)
        body = await read_body(request, self._data_plane.streaming.limits.request_bytes)
        text, tail = binary.split_body(body, request.headers.get(binary.HEADER))
        parsed = parse_json(text)
        answers: FlatAnswers | None = None
        if request.scope["path"].rpartition("/")[2] in GENERATE_CALLS and is_flat(parsed):
            parsed = unflatten(parsed, model.inputs or [])
            answers = FlatAnswers.to(parsed)
        binary.attach_tensors(parsed, tail)
        outputs = BinaryOutputs.take(parsed)
        payload = decode_request(parsed)
        call = calls.current()
        if call is not None:
            call.take(payload)
        insert_headers(payload, without_secrets(request.headers))
        figures = self._data_plane.metrics.of(name, model.version, REST)
        figures.received.inc(len(body))
        if answers is not None:
            return Question(payload, answers.encode, None, figures)
        return Question(payload, encode_response, outputs if outputs.any else None, figures)


def _model(request: Request) -> tuple[str, str | None]:
    return request.path_params["model_name"], request.path_params.get("model_version")


def _headers(response: InferenceResponse) -> dict[str, str]:
    """The HTTP headers among a response's parameters; any text is made fit to be one."""
    return {name: quote(value, PRINTABLE) for name, value in headers_of(response).items()}


def _request_id(call: Call) -> dict[str, str]:
    """The caller's own id for its call, given back."""
    return {REQUEST_ID: call.request_id} if call.request_id else {}


def _accepts_gzip(request: Request) -> bool:
    for coding in request.headers.get("accept-encoding", "").lower().split(","):
        name, _, quality = coding.partition(";")
        if name.strip() == "gzip":
            return quality.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False
