"""The routes for text: `chat/completions`, `completions`, `responses`."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass

import orjson
from mlserver.types import InferenceRequest
from starlette.requests import Request
from starlette.responses import Response

from ..errors import RequestFailedError
from ..rest.hang_up import stop_on_hang_up
from ..rest.kept_streams import LAST_EVENT_ID
from ..rest.short_way import CLIENT_CLOSED_REQUEST
from .answers import Answer
from .ask import Ask
from .calls import JSON, Calls
from .kept_ask import KeptAsk
from .kept_text import KeptText
from .payloads import Tensors, text_payloads
from .pieces import Piece, PieceReader, Usage, added
from .text_form import FORMS, TextForm


@dataclass(frozen=True, slots=True)
class TextRoute:
    """A route."""

    form: TextForm
    calls: Calls
    kept: KeptText

    async def __call__(self, request: Request) -> Response:
        calls = self.calls
        if place := request.headers.get(LAST_EVENT_ID):
            return await self.kept.again(request, place, self.form)
        async with AsyncExitStack() as stack:
            call = await stack.enter_async_context(calls.open(request))
            fields, size = await calls.fields(request)
            ask = self.form.read(fields)
            model = await calls.model(ask.model)
            tensors = Tensors.of(model)
            payloads = text_payloads(ask, tensors)
            for payload in payloads:
                calls.take(request, call, payload)
            figures = calls.figures(model, size)
            if self.kept.is_wanted(ask, payloads, model):
                kept = KeptAsk(self.form, ask, tensors.output)
                run = self.kept.begin(kept, payloads[0], model, call)
                return await self.kept.begun(request, run, kept, call, figures, stack)
            asked = Asked(calls, ask, payloads, tensors.output, self.form)
            answer = self.form.answer(ask)
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
        form: TextForm,
    ):
        self.usage: Usage | None = None
        self._calls = calls
        self._ask = ask
        self._payloads = payloads
        self._output = output
        self._form = form

    async def pieces(self) -> AsyncGenerator[Piece, None]:
        for index, payload in enumerate(self._payloads):
            reader = PieceReader(self._output, index * self._ask.choices)
            answered = self._calls.responses(payload, self._ask.model, self._ask.streams)
            async with aclosing(answered) as responses:
                try:
                    async for response in responses:
                        yield reader.read(response)
                except RequestFailedError as error:
                    self._form.name(error)
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


def text_routes(calls: Calls, kept: KeptText) -> dict[str, TextRoute]:
    """By their paths behind the prefix."""
    return {path: TextRoute(form, calls, kept) for path, form in FORMS.items()}
