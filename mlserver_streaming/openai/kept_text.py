"""Streams of text that outlive their connections: begun, and read in OpenAI's events."""

from __future__ import annotations

from contextlib import AsyncExitStack

import orjson
from mlserver import MLModel
from mlserver.types import InferenceRequest
from starlette.requests import Request
from starlette.responses import Response

from ..errors import BadRequestError, UnsupportedError
from ..rest.kept_streams import STREAMS, accepted, can_be_found, wants_no_answer
from ..rest.resumable_events import STREAM_ID
from ..resume import Runs
from ..resume.position import Position
from ..resume.run import Run
from ..streams.answers import One
from ..streams.calls import Call
from ..streams.data_plane import RESUMABLE
from ..watch.metrics import Figures
from .ask import Ask
from .calls import JSON, Calls
from .errors import FieldError
from .kept_ask import KeptAsk
from .retelling import EVERYTHING, Retelling
from .text_form import TextForm


class KeptText:
    """Begins runs of what is asked here, and writes them for who reads them."""

    def __init__(self, calls: Calls):
        self._calls = calls

    @property
    def runs(self) -> Runs:
        """
        Raises:
            UnsupportedError: nothing is kept here.
        """
        if self._calls.runs is None:
            raise UnsupportedError("No streams are kept here.")
        return self._calls.runs

    def is_wanted(self, ask: Ask, payloads: list[InferenceRequest], model: MLModel) -> bool:
        """Whether an answer is to outlive its connection.

        Raises:
            FieldError: it cannot.
            BadRequestError: the request does not say so in a way that can be understood.
        """
        if ask.background:
            return True
        runs = self._calls.runs
        if not ask.streams or runs is None or not runs.is_wanted(payloads[0], model):
            return False
        if len(payloads) > 1 and ask.parameters.get(RESUMABLE) is True:
            raise FieldError(f"'{RESUMABLE}' takes one prompt; send each by itself.", "prompt")
        return len(payloads) == 1

    def begin(self, kept: KeptAsk, payload: InferenceRequest, model: MLModel, call: Call) -> Run:
        """
        Raises:
            OverLimitError: the caller has as many streams as may be.
        """
        run = self.runs.begin(
            One(payload),
            payload,
            model,
            None,
            call.hand_over,
            form=kept.packed(),
            stream=kept.ask.id,
        )
        # Whoever has begun one in the background is told of its failure when he asks.
        run.keeps_refusal = kept.ask.background
        return run

    async def begun(
        self,
        request: Request,
        run: Run,
        kept: KeptAsk,
        call: Call,
        figures: Figures,
        stack: AsyncExitStack,
    ) -> Response:
        """The answer to who has begun a run."""
        if not kept.ask.streams:
            await can_be_found(self.runs, run)
            return await self.standing(run, kept, call, figures, stack)
        if wants_no_answer(request):
            return await accepted(self.runs, run)
        retelling = Retelling(run, kept, 0)
        stack.callback(retelling.leave)
        await retelling.replay()
        return self._events(request, run, retelling, call, figures, stack)

    async def again(self, request: Request, place: str, form: TextForm) -> Response:
        """The answer to who asks the same again, with the id of the last event that he has.

        Raises:
            BadRequestError: it is no place in a stream, or in none of this route.
            NoSuchStreamError: the caller has no such stream.
        """
        position = Position.read(place)
        run = await self.runs.find(position.stream)
        kept = KeptAsk.of(run.head.form)
        if kept is None or kept.form is not form:
            raise BadRequestError(
                "The stream of this Last-Event-ID did not begin at this route; "
                f"GET {STREAMS}/{position.stream}."
            )
        return await self.read(request, run, position, ends_with_204=True)

    async def read(
        self, request: Request, run: Run, position: Position, ends_with_204: bool
    ) -> Response:
        """The answer to who reads a run.

        Args:
            position: of the last event that he has.
            ends_with_204: whether he is to be told so that there is no more.

        Raises:
            FutureEventError, BeginningGoneError, MLServerError: it cannot be read from there on.
        """
        kept = KeptAsk.of(run.head.form)
        assert kept is not None
        async with AsyncExitStack() as stack:
            call = await stack.enter_async_context(self._calls.open_to_read(request))
            behind = self.runs.moved_behind(position.stream, run)
            retelling = Retelling(run, kept, position.after, behind)
            stack.callback(retelling.leave)
            await retelling.replay()
            retelling.check()
            self.runs.figures.came_back.inc()
            if ends_with_204 and retelling.is_over:
                # What tells an EventSource not to come back.
                return Response(status_code=204)
            figures = self._calls.figures_of(run.head.model, run.head.served)
            return self._events(request, run, retelling, call, figures, stack)

    async def standing(
        self, run: Run, kept: KeptAsk, call: Call, figures: Figures, stack: AsyncExitStack
    ) -> Response:
        """The response object, as it stands."""
        retelling = Retelling(run, kept, EVERYTHING)
        stack.callback(retelling.leave)
        body = orjson.dumps(await retelling.stands())
        return self._calls.whole(body, JSON, call, figures, stack)

    def _events(
        self,
        request: Request,
        run: Run,
        retelling: Retelling,
        call: Call,
        figures: Figures,
        stack: AsyncExitStack,
    ) -> Response:
        named = {STREAM_ID: run.head.id}
        events = retelling.events()
        return self._calls.streamed(request, events, retelling.error, call, figures, stack, named)
