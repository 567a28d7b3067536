"""`audio/transcriptions`: a file in, what was said in it out."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing

from mlserver.types import InferenceRequest
from starlette.requests import Request
from starlette.responses import Response

from ..rest.hang_up import stop_on_hang_up
from ..rest.short_way import CLIENT_CLOSED_REQUEST
from .calls import Calls
from .errors import FieldError, error_event
from .form import file_of, read_form
from .hearing import GRANULARITIES, WORD, WORDS, HearingAsk, Segment, SegmentReader, read_hearing
from .payloads import Tensors, audio_payload
from .transcripts import delta, done, written


class AudioRoute:
    """The recording is asked as a stream: it may be as long as its file is allowed to be."""

    def __init__(self, calls: Calls):
        self._calls = calls

    async def __call__(self, request: Request) -> Response:
        calls = self._calls
        async with AsyncExitStack() as stack:
            call = await stack.enter_async_context(calls.open(request))
            form, size = await read_form(request, calls.most_bytes)
            ask = read_hearing(form)
            model = await calls.model(ask.model)
            tensors = Tensors.of(model)
            outputs = _outputs(ask, tensors)
            payload = audio_payload(await file_of(form), tensors, ask.parameters, outputs)
            calls.take(request, call, payload)
            figures = calls.figures(model, size)
            reader = SegmentReader(ask, tensors.output)
            heard = self._heard(payload, ask, reader)
            if ask.streams:
                return calls.streamed(request, _events(heard), error_event, call, figures, stack)
            with stop_on_hang_up(request.receive, request.scope):
                segments = []
                bounded = calls.bounded(heard, call, lambda segment: len(segment.text))
                async with aclosing(bounded):
                    async for segment in bounded:
                        segments.append(segment)
                body, kind = written(ask, segments, reader.language)
                return calls.whole(body, kind, call, figures, stack)
        return Response(status_code=CLIENT_CLOSED_REQUEST)

    async def _heard(
        self, payload: InferenceRequest, ask: HearingAsk, reader: SegmentReader
    ) -> AsyncGenerator[Segment, None]:
        answered = self._calls.responses(payload, ask.model, ask.streams)
        async with aclosing(answered) as responses:
            async for response in responses:
                if segment := reader.read(response):
                    yield segment


async def _events(heard: AsyncGenerator[Segment, None]) -> AsyncGenerator[bytes, None]:
    segments: list[Segment] = []
    async with aclosing(heard):
        async for segment in heard:
            yield delta(segment, is_first=not segments)
            segments.append(segment)
    yield done(segments)


def _outputs(ask: HearingAsk, tensors: Tensors) -> list[str]:
    """The outputs to ask for: the model's own choice, unless words are wanted."""
    if WORD not in ask.times:
        return []
    outputs = tensors.outputs or []
    text = tensors.output or next(iter(outputs), None)
    if WORDS not in outputs or text is None:
        raise FieldError(
            f"Model '{tensors.model}' gives no times of words; leave {WORD} out of "
            f"'{GRANULARITIES}'.",
            GRANULARITIES,
        )
    return [text, WORDS]
