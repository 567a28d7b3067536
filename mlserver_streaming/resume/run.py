"""What answers one stream, in a task of its own, and who reads it.

It goes on whoever listens. What it says is kept within bounds: past them it waits for the reader in
front, and forgets what that one has had; other readers are told what they have missed. Left alone
for too long it is ended; and what it said is forgotten a while after its end.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from contextvars import Context, copy_context
from time import monotonic
from typing import Protocol

from mlserver.logging import logger
from mlserver.types import InferenceResponse

from ..errors import (
    CancelledStreamError,
    DrainingError,
    ForgottenError,
    InternalError,
    MLServerError,
    OverLimitError,
    StillAheadError,
    UnreadError,
)
from ..recordings.recorded import Recorded, size_of
from ..settings import ResumeSettings
from .head import Head
from .reader import Reader
from .response_log import ResponseLog, restored

# Who reads a stream holds no slot of the limits: so many may read one at once.
MAX_READERS = 16
# A run's timer acts for nobody: the context of a call would be held as long.
NO_CONTEXT = Context()
RUNNING, COMPLETED, FAILED, CANCELLED = "running", "completed", "failed", "cancelled"


class Shared(Protocol):
    """What all runs share."""

    def count(self, bytes: int) -> None:
        """They hold so many bytes more, or fewer."""

    def has_room(self) -> bool:
        """Whether they may hold more; streams that have ended are thrown away for it."""

    def has_ended(self, run: Run) -> None:
        """A run says no more: once nobody reads it, it is thrown away where room is needed."""

    def wait(self, room: asyncio.Future[None]) -> None:
        """Have a future set when there may be room."""

    def forget(self, run: Run) -> None:
        """A run is over, and not to be found any more."""

    def delete(self, run: Run) -> asyncio.Task[None] | None:
        """Have a run found nowhere else either; None where there is nowhere else."""


class Run:
    """Its task does `work`, which adds responses and waits for room where it is told to.

    Attributes:
        head: what it is.
        log: what it said.
        ended: whether it has said all.
        error: what it ended with, if that was an error.
        stop_work: how its work is ended early, where cancelling its task is not all.
        shown: the number of the last response that readers may have yet.
        began_elsewhere: whether another instance runs it, or ran it, and may have got further.
        keeps_refusal: whether it is kept though it failed before its first response.
        is_forgotten: whether it is not to be found any more.
    """

    def __init__(
        self,
        head: Head,
        settings: ResumeSettings,
        shared: Shared,
        said: int = 0,
    ) -> None:
        """
        Args:
            said: how many responses were said before, elsewhere.
        """
        self.head = head
        self.log = ResponseLog(said)
        self.ended = False
        self.error: MLServerError | None = None
        self.stop_work: Callable[[MLServerError], None] | None = None
        self.shown: float = math.inf
        self.began_elsewhere = self.keeps_refusal = False
        self._settings = settings
        self._shared = shared
        self._counted = 0  # of the bytes that all hold
        self._readers: set[Reader] = set()
        self._waiting: list[asyncio.Future[None]] = []
        self._room: asyncio.Future[None] | None = None
        self._stopped: MLServerError | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0
        self._has_begun = self._was_read = self.is_forgotten = False
        self._task: asyncio.Task[None] | None = None

    # What the work does.

    def start(self, work: Callable[[Run], Awaitable[None]]) -> None:
        """Begin, in a task that has the context of this one."""
        self._task = asyncio.create_task(self._run(work), context=copy_context())
        self._watch()

    def add(self, record: Recorded) -> bool:
        """As `say`, of a response that was taken down elsewhere, with its id."""
        return self.say(restored(record), record.size or size_of(record.outputs))

    def say(self, response: InferenceResponse, size: int) -> bool:
        """The next response; whether another may follow at once. If not, `room` is waited for.

        Args:
            response: nobody else's any more.
            size: bytes of its data.
        """
        return self._goes_on(self.log.add(response, size))

    def say_text(self, response: InferenceResponse) -> bool | None:
        """As `say`, of a response that is one text, as tokens come; None for any other."""
        is_to_be_counted = self.log.add_text(response)
        if is_to_be_counted is False and not self._waiting:
            return True
        return None if is_to_be_counted is None else self._goes_on(is_to_be_counted)

    def _goes_on(self, is_to_be_counted: bool) -> bool:
        if self._waiting:
            self._wake()
        if not is_to_be_counted:
            return True
        self._count()
        return self._fits()

    async def room(self) -> None:
        """Wait until there is room for a response."""
        self.log.fold()
        self._count()
        while not self._fits():
            front = max((reader.heard for reader in self._readers), default=0)
            if self._readers and self.log.drop(front):
                self._count()
            elif self._readers and front >= self.log.last:
                return  # one who keeps up does not wait because of what others hold
            else:
                self._room = asyncio.get_running_loop().create_future()
                self._shared.wait(self._room)
                await self._room

    def _fits(self) -> bool:
        return self.log.size <= self._settings.bytes and self._shared.has_room()

    async def _run(self, work: Callable[[Run], Awaitable[None]]) -> None:
        self._has_begun = True
        try:
            if self._stopped is not None and self._task is not None:
                # Where it waits for the first time: it has things to give back.
                self._task.cancel()
            await work(self)
        except MLServerError as error:
            self.error = error
        except asyncio.CancelledError:
            self.error = self._stopped or DrainingError()
            if self._stopped is None:
                raise
        except Exception as error:
            self.error = InternalError(self.head.id)
            logger.error("Resumable stream: %s", self.error, exc_info=error)
        finally:
            self.error = self._stopped or self.error
            self.ended = True
            # What is kept is to hold neither the call that it was nor its context.
            self._task = self.stop_work = None
            self._wake()
            if not self._readers:
                self._left()
            self._shared.has_ended(self)
            self._shared.has_room()  # what was too little to be counted may be too much now
            self._watch()

    # What readers do.

    def join(self, after: int = 0) -> Reader:
        """Read what comes after a response.

        Raises:
            StillAheadError: that one is not there yet.
            ForgottenError: what comes after it is kept no more.
            OverLimitError: as many read it as may.
        """
        if after > self.log.last:
            raise StillAheadError(after, self.log.last)
        if after + 1 < self.log.first:
            raise self._forgotten(after)
        if len(self._readers) >= MAX_READERS:
            raise OverLimitError(f"{MAX_READERS} read this stream already; try again in a moment.")
        reader = Reader(self, after)
        self._readers.add(reader)
        self._was_read = True
        self._watch()
        self._give_room()
        return reader

    def is_over(self, after: int) -> bool:
        """Whether a reader who has this response has all there is, and it ended well."""
        return self.ended and self.error is None and after == self.log.last

    async def after(self, number: int) -> Sequence[InferenceResponse]:
        """The next responses after one, at least one; none where it was the last.

        Raises:
            ForgottenError: they are kept no more.
            MLServerError: what the run ended with.
        """
        log = self.log
        while True:
            if number + 1 < log.first:
                raise self._forgotten(number)
            if number < log.last:
                some = log.after(number)
                if number + len(some) <= self.shown:
                    return some
                if number < self.shown:
                    return some[: int(self.shown) - number]
            elif self.ended:
                if self.error is not None:
                    # The same for all who read: without the frames of those who raised it before.
                    raise self.error.with_traceback(None)
                return ()
            await self._news()

    def show(self, number: float) -> None:
        """Readers may have the responses up to one."""
        self.shown = number
        self._wake()

    def show_all(self) -> None:
        """Readers may have whatever there is."""
        if self.shown != math.inf:
            self.show(math.inf)

    async def until(self, number: float, seconds: float) -> None:
        """Wait for a response to be there, or the end, or so long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self.log.last < number and not self.ended:
                    await self._news()

    def was_heard(self) -> None:
        """A reader has got further."""
        if self._room is not None:
            self._give_room()

    def leave(self, reader: Reader) -> None:
        """One reads no more."""
        if reader in self._readers:
            self._readers.remove(reader)
            if not self._readers:
                self._left()
                self._watch()
                self._shared.has_room()  # what was kept for this one may be too much
            self._give_room()

    @property
    def readers(self) -> int:
        """How many read it now."""
        return len(self._readers)

    # What its caller does.

    def stop(self, error: MLServerError) -> None:
        """End it now; its readers are told of this error after what was said."""
        if self.ended or self._stopped is not None:
            return
        self._stopped = error
        if self.stop_work is not None:
            self.stop_work(error)
        elif self._task is not None and self._has_begun:
            self._task.cancel()

    def call_off(self) -> None:
        """End it for its caller."""
        self.stop(CancelledStreamError())

    def cancel(self) -> asyncio.Task[None] | None:
        """End it for its caller, and forget it; gives what has it found nowhere else."""
        self.call_off()
        self.forget()
        return self._shared.delete(self)

    @property
    def state(self) -> str:
        if not self.ended:
            return RUNNING
        if self.error is None:
            return COMPLETED
        return CANCELLED if isinstance(self.error, CancelledStreamError) else FAILED

    @property
    def seconds_left(self) -> float | None:
        """Until it is ended or forgotten if nobody comes; None while somebody reads it."""
        return None if self._timer is None else max(0.0, self._due - monotonic())

    def forget(self) -> None:
        """Keep nothing of it any longer than those who read it now do."""
        if not self.is_forgotten:
            self.is_forgotten = True
            self._shared.forget(self)
        if not self._readers:
            self._left()
        self._watch()

    # How long it goes on, and is kept.

    def _watch(self) -> None:
        """Look again at what it is to wait for: nothing, while it is read."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._readers or (self.is_forgotten and self.ended):
            return
        kept = self._settings.seconds_kept
        seconds = kept if self.ended else self._settings.seconds_without_reader
        self._due = monotonic() + seconds
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(seconds, self._out_of_time, context=NO_CONTEXT)

    def _out_of_time(self) -> None:
        self._timer = None
        if self.ended:
            self.forget()
        else:
            self.stop(UnreadError(self._settings.seconds_without_reader))

    def _left(self) -> None:
        """Nobody reads it now: hold less."""
        if self.is_forgotten and self.ended:
            self.log.clear()
        elif (
            self.ended
            and self.error is not None
            and not (self.log.last or self.keeps_refusal)
            and self._was_read
        ):
            # Refused, as it would be without all this, and its caller knows.
            self.forget()
        elif self.ended:
            self.log.fold()
        self._count()

    def _count(self) -> None:
        more = self.log.size - self._counted
        self._counted += more
        self._shared.count(more)

    async def _news(self) -> None:
        """Wait for another response, or the end."""
        future = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        try:
            await future
        except asyncio.CancelledError:
            # Who leaves a silent stream is not to be held until it says more.
            with suppress(ValueError):
                self._waiting.remove(future)
            raise

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    def _give_room(self) -> None:
        room, self._room = self._room, None
        if room is not None and not room.done():
            room.set_result(None)

    def _forgotten(self, after: int) -> ForgottenError:
        return ForgottenError(after, self.log.first, self.head.id)
