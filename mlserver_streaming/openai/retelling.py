"""One who reads a run in the events of an OpenAI route, from any event on."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing

from mlserver.types import InferenceResponse

from ..errors import (
    CancelledStreamError,
    ForgottenError,
    LostStreamError,
    MLServerError,
    MovedError,
    NoSuchStreamError,
    StoreLostError,
)
from ..rest.resumable_events import COME_BACK
from ..resume.run import Run
from .answers import Body
from .errors import BeginningGoneError, FutureEventError
from .kept_ask import KeptAsk
from .responses import CANCELLED, FAILED, QUEUED, RUNNING, ResponseAnswer
from .telling import Telling

# Where it is not the run that failed, but the reading of it.
UNREADABLE = (MovedError, StoreLostError, ForgottenError, BeginningGoneError, NoSuchStreamError)
NO_FAILURES = (*UNREADABLE, CancelledStreamError)
# The place of one who wants no events.
EVERYTHING = sys.maxsize
# Responses without a new event, between turns of the loop.
TURN = 64


class Retelling:
    """Replay first, then check and take `events`; `leave` in the end.

    The run is told from its first response on, whatever the reader has: what was dropped of it
    cannot be told again.
    """

    def __init__(self, run: Run, kept: KeptAsk, after: int, behind: int | None = None) -> None:
        """
        Args:
            after: the number of the last event that the reader has.
            behind: the response behind which it says something else than the reader has heard.

        Raises:
            BeginningGoneError: what was said first is kept no more.
            OverLimitError: as many read it as may.
        """
        self._run, self._after, self._behind = run, after, behind
        self._telling = Telling(run.head.id, kept)
        self._heard = 0
        self._new: list[bytes] = []
        self._done = False
        self._failure: MLServerError | None = None
        try:
            self._reader = run.join()
        except ForgottenError:
            raise BeginningGoneError() from None

    def leave(self) -> None:
        """Read no more. Twice is as good as once."""
        self._reader.leave()

    async def replay(self) -> None:
        """Tell what is there already, up to what the reader has not.

        Raises:
            LostStreamError: the reader has more than what is told here began behind.
            MLServerError: what the model failed the request with.
        """
        run, telling = self._run, self._telling
        if telling.background:
            self._add(telling.begin())
        known = min(run.log.last, run.shown)
        while telling.count < self._after and self._heard < known and not self._done:
            for response in await self._next():
                self._check_move()
                self._take(response)
                if telling.count >= self._after or self._done:
                    break
            await asyncio.sleep(0)
        self._check_move()
        if run.ended and self._heard == run.log.last and not self._done:
            self._end()

    def _check_move(self) -> None:
        if self._heard == self._behind and self._telling.count < self._after:
            raise LostStreamError(self._heard)

    def check(self) -> None:
        """
        Raises:
            FutureEventError: there is no such event yet.
        """
        # Elsewhere it may have got further.
        if self._telling.count < self._after and (self._done or not self._run.began_elsewhere):
            raise FutureEventError(self._after, self._telling.count)

    @property
    def is_over(self) -> bool:
        """Whether the reader has all there is."""
        return self._done and not self._new

    async def events(self) -> AsyncGenerator[bytes, None]:
        """All that the reader has not, as it comes.

        Raises:
            BeginningGoneError, MLServerError: what ended it, after the last event.
        """
        if self._new:
            yield self._taken()
        if self._done:
            return
        reader = self._reader
        reader.heard = self._heard
        try:
            async with aclosing(reader.responses()) as responses:
                async for response in responses:
                    self._take(response)
                    if self._new:
                        yield self._taken()
                    elif self._heard % TURN == 0:
                        await asyncio.sleep(0)
                    if self._done:
                        return
            self._tell(self._telling.end())
        except ForgottenError:
            raise BeginningGoneError() from None
        except MLServerError as error:
            if not self._fails_with(error):
                raise
        self.check()
        if self._new:
            yield self._taken()

    def error(self, error: MLServerError) -> bytes:
        """What a reader is told where `events` ends with an error."""
        return COME_BACK if isinstance(error, MovedError) else self._telling.answer.error(error)

    async def stands(self) -> Body:
        """The response as it stands, for one who reads it after `EVERYTHING`.

        Raises:
            MLServerError: it cannot be read to its end here.
        """
        run, answer = self._run, self._telling.answer
        assert isinstance(answer, ResponseAnswer)
        try:
            await self.replay()
        except MLServerError as error:
            if error is not self._failure:
                raise
        usage = self._telling.usage
        if self._failure is not None:
            return answer.stands(FAILED, usage, self._failure)
        if self._done:
            return answer.whole(usage)
        if not run.ended or self._heard < run.log.last:
            return answer.stands(RUNNING if self._heard else QUEUED, usage)
        if isinstance(run.error, CancelledStreamError):
            return answer.stands(CANCELLED, usage)
        assert run.error is not None
        if isinstance(run.error, UNREADABLE):
            raise run.error
        return answer.stands(FAILED, usage, run.error)

    async def _next(self) -> list[InferenceResponse]:
        try:
            return list(await self._run.after(self._heard))
        except ForgottenError:
            raise BeginningGoneError() from None

    def _take(self, response: InferenceResponse) -> None:
        self._heard += 1
        try:
            self._add(self._telling.take(response))
        except MLServerError as error:
            self._failure = error
            if not self._fails_with(error):
                raise

    def _end(self) -> None:
        """The run has ended, and all that it said is told."""
        if self._run.error is None:
            self._tell(self._telling.end())
        else:
            self._fails_with(self._run.error)

    def _tell(self, events: list[bytes]) -> None:
        self._done = True
        self._add(events)

    def _fails_with(self, error: MLServerError) -> bool:
        """Whether a failure is told by an event."""
        if self._telling.background is None or isinstance(error, NO_FAILURES):
            return False
        self._failure = error
        self._tell(self._telling.fail(error))
        return True

    def _add(self, events: list[bytes]) -> None:
        old = max(0, self._after - (self._telling.count - len(events)))
        self._new += events[old:]

    def _taken(self) -> bytes:
        new, self._new = self._new, []
        return b"".join(new)
