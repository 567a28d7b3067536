"""What OpenAI's calls have in common: opened like any other call of the REST edge, answered whole
or as events."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing
from typing import Any

from mlserver import MLModel
from mlserver.types import InferenceRequest, InferenceResponse
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response

from ..access.authenticator import without_secrets
from ..errors import (
    ForbiddenError,
    MLServerError,
    NoSuchModelError,
    TooLargeError,
    failure_of,
)
from ..models.messages import put_headers
from ..rest.accepting import accepts_gzip
from ..rest.body import read_body, room_of
from ..rest.hang_up import unless_hung_up
from ..rest.written_events import WrittenEventsResponse
from ..resume import Runs
from ..streams.answers import One
from ..streams.calls import NO_SLOT, REST, Call
from ..streams.data_plane import StreamingDataPlane
from ..streams.room import Loan
from ..streams.turns import in_turns
from ..tensors.bounds import check_counts
from ..tensors.json_pieces import SMALL_BODY_BYTES
from ..tensors.json_requests import parse
from ..tensors.steps import finish
from ..watch.metrics import Figures
from .errors import NoModelError
from .events import WholeResponse
from .fields import Fields

JSON = "application/json"
LONG_NUMBERS = "A long list of numbers is nothing that this route reads; send text."


class Calls:
    """Opens calls, asks models, answers."""

    def __init__(self, data_plane: StreamingDataPlane, gzip: bool):
        self._data_plane = data_plane
        self._gzip = gzip
        self._limits = data_plane.streaming.limits

    def open(
        self, request: HTTPConnection, protocol: str = REST
    ) -> AbstractAsyncContextManager[Call]:
        return self._data_plane.calls.open(protocol, request.headers)

    def open_to_read(self, request: HTTPConnection) -> AbstractAsyncContextManager[Call]:
        """Open a call that asks no model, and holds no slot."""
        return self._data_plane.calls.open(REST, request.headers, slot=NO_SLOT)

    @property
    def runs(self) -> Runs | None:
        """Streams that outlive their connections."""
        found: Runs | None = self._data_plane.resume
        return found

    @property
    def most_bytes(self) -> int:
        return self._limits.request_bytes

    async def fields(self, request: Request) -> tuple[Fields, int]:
        """A body's fields, and how many bytes it was."""
        with Loan(room_of(request).unpacked) as unpacked:
            body = await read_body(request, self.most_bytes, unpacked)
            reading = parse(body, self._limits)
            if len(body) < SMALL_BODY_BYTES:
                parsed, rows = finish(reading)
            else:
                parsed, rows = await unless_hung_up(request.receive, in_turns(reading))
        if rows:
            raise MLServerError(LONG_NUMBERS, 400)
        return Fields(parsed), len(body)

    async def model(self, name: str) -> MLModel:
        """
        Raises:
            NoModelError: it is not there, or not for this caller.
            NotReadyError, NotLoadedError: it is, but not yet, or could not be loaded.
        """
        try:
            return await self._data_plane.model(name)
        except (ForbiddenError, NoSuchModelError) as error:
            raise NoModelError(name) from error

    def figures(self, model: MLModel, received: int, protocol: str = REST) -> Figures:
        figures = self.figures_of(model.name, model.version, protocol)
        figures.received.inc(received)
        return figures

    def figures_of(self, model: str, version: str | None, protocol: str = REST) -> Figures:
        return self._data_plane.metrics.of(model, version, protocol)

    def take(self, request: Request, call: Call, payload: InferenceRequest) -> None:
        """Give a request what its call knows: the id, the deadline, the headers."""
        if payload.parameters is not None:
            check_counts(self._limits, parameters=len(payload.parameters.model_extra or {}))
        call.take(payload)
        put_headers(payload, without_secrets(request.headers))

    async def responses(
        self, payload: InferenceRequest, name: str, streams: bool
    ) -> AsyncGenerator[InferenceResponse, None]:
        """A model's responses to one request; one that fails the request is raised.

        Args:
            streams: whether they leave as events; those take their turns themselves.
        """
        answered = self._data_plane.infer_stream(One(payload), name, take_turns=not streams)
        async with aclosing(answered) as responses:
            async for response in responses:
                if error := failure_of(response):
                    raise error
                yield response

    def stream(
        self, payloads: AsyncIterator[InferenceRequest], name: str
    ) -> AsyncGenerator[InferenceResponse, None]:
        """A model's responses to a stream of requests, failures of single ones among them."""
        return self._data_plane.infer_stream(payloads, name)

    async def bounded(
        self, responses: AsyncIterator[Any], call: Call, size: Callable[[Any], int]
    ) -> AsyncGenerator[Any, None]:
        """What is collected to be answered whole, bounded as in all unary calls."""
        count = collected = 0
        async for each in responses:
            call.touch()
            count += 1
            collected += size(each)
            most = self._limits
            if count > most.collected_responses or (count > 1 and collected > most.collected_bytes):
                raise TooLargeError(
                    f"The answer is more than {most.collected_responses} pieces or "
                    f"{most.collected_bytes} bytes; ask for it with 'stream' true."
                )
            yield each

    def whole(
        self, body: bytes, kind: str, call: Call, figures: Figures, stack: AsyncExitStack
    ) -> Response:
        self._data_plane.rest_bound.check(len(body))
        figures.sent.inc(len(body))
        # The call goes on until its answer is sent.
        return WholeResponse(body, kind, call.returned, stack.pop_all(), call.touch)

    def streamed(
        self,
        request: Request,
        events: AsyncGenerator[bytes, None],
        error: Callable[[MLServerError], bytes],
        call: Call,
        figures: Figures,
        stack: AsyncExitStack,
        named: Mapping[str, str] | None = None,
    ) -> Response:
        """
        Args:
            named: more headers.
        """
        streaming = self._data_plane.streaming

        def touch(size: int) -> None:
            call.touch()
            figures.sent.inc(size)

        return WrittenEventsResponse(
            events,
            error,
            rotation=self._data_plane.rotation,
            bound=self._data_plane.rest_bound,
            grace=streaming.first_response_grace_seconds,
            keepalive=streaming.keepalive_seconds,
            gzip=self._gzip and accepts_gzip(request),
            call=stack.pop_all(),
            touch=touch,
            headers={**call.returned, **(named or {})},
        )
