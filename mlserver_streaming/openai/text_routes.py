"""The routes for text: `chat/completions`, `completions`, `responses`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, field

import orjson
from mlserver.types import InferenceRequest
from starlette.requests import Request
from starlette.responses import Response

from ..errors import RequestFailedError
from ..rest.hang_up import stop_on_hang_up
from ..rest.short_way import CLIENT_CLOSED_REQUEST
from .answers import Answer
from .ask import Ask, read_chat, read_completion, read_response
from .calls import JSON, Calls
from .chat import ChatAnswer
from .completions import CompletionAnswer
from .fields import Fields
from .payloads import Tensors, text_payloads
from .pieces import Piece, PieceReader, Usage, added
from .responses import ResponseAnswer

# What a model calls otherwise than the route `responses` does.
OF_RESPONSES = {
    "messages": "input",
    "max_tokens": "max_output_tokens",
    "response_format": "text.format",
}


@dataclass(frozen=True, slots=True)
class TextRoute:
    """A route: how its bodies are read, and its answers written.

    Attributes:
        fields: its own names of what a model says is wrong.
    """

    read: Callable[[Fields], Ask]
    answer: Callable[[Ask], Answer]
    calls: Calls
    fields: Mapping[str, str] = field(default_factory=dict)

    async def __call__(self, request: Request) -> Response:
        calls = self.calls
        async with AsyncExitStack() as stack:
            call = await stack.enter_async_context(calls.open(request))
            fields, size = await calls.fields(request)
            ask = self.read(fields)
            model = await calls.model(ask.model)
            tensors = Tensors.of(model)
            payloads = text_payloads(ask, tensors)
            for payload in payloads:
                calls.take(request, call, payload)
            figures = calls.figures(model, size)
            asked = Asked(calls, ask, payloads, tensors.output, self.fields)
            answer = self.answer(ask)
            if ask.streams:
                events = asked.events(answer)
                return calls.streamed(request, events, answer.error, call, figures, stack)
            with stop_on_hang_up(request.receive, request.scope):
                pieces = calls.bounded(asked.pieces(), call, lambda piece: len(piece.text))
                async with aclosing(pieces):
                    async for piece in pieces:
                        answer.add(piece)
                body = orjson.dumps(answer.whole(asked.usage))
                return calls.whole(body, JSON, call, figures, stack)
        return Response(status_code=CLIENT_CLOSED_REQUEST)


class Asked:
    """What is asked, on its way through the model: one request after the other.

    Attributes:
        usage: the tokens of all that are answered.
    """

    def __init__(
        self,
        calls: Calls,
        ask: Ask,
        payloads: list[InferenceRequest],
        output: str | None,
        fields: Mapping[str, str],
    ):
        self.usage: Usage | None = None
        self._calls = calls
        self._ask = ask
        self._payloads = payloads
        self._output = output
        self._fields = fields

    async def pieces(self) -> AsyncGenerator[Piece, None]:
        for index, payload in enumerate(self._payloads):
            reader = PieceReader(self._output, index * self._ask.choices)
            answered = self._calls.responses(payload, self._ask.model, self._ask.streams)
            async with aclosing(answered) as responses:
                try:
                    async for response in responses:
                        yield reader.read(response)
                except RequestFailedError as error:
                    name = (error.param or "").partition("[")[0]
                    error.param = self._fields.get(name, error.param)
                    raise
            for piece in reader.rest():
                yield piece
            self.usage = added(self.usage, reader.usage)

    async def events(self, answer: Answer) -> AsyncGenerator[bytes, None]:
        begun = False
        async with aclosing(self.pieces()) as pieces:
            async for piece in pieces:
                if not begun:
                    begun = True
                    if events := answer.begin():
                        yield events
                if events := answer.event(piece):
                    yield events
        yield answer.end(self.usage)


def text_routes(calls: Calls) -> dict[str, TextRoute]:
    """By their paths behind the prefix."""
    return {
        "/chat/completions": TextRoute(read_chat, ChatAnswer, calls),
        "/completions": TextRoute(read_completion, CompletionAnswer, calls),
        "/responses": TextRoute(read_response, ResponseAnswer, calls, OF_RESPONSES),
    }
