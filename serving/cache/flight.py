"""One run of a model for all who ask the same while it runs.

The run is a task of its own: it goes on while anybody listens, and is cancelled when the last one
has left. Everybody gets all of it, from its beginning, in his own time: what the model has said is
kept until the run ends. A run that says more than may be kept goes on without its beginning; then
nobody can join any more, nothing is stored, and the model waits for the slowest of its listeners.
A listener for whom the others have waited too long is sent off.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from contextvars import copy_context
from time import monotonic
from types import TracebackType

from mlserver.types import InferenceResponse

from .. import calls
from ..errors import MLServerError, failure_of
from .recording import Recorded, Recording

# How long a model that never waits may go on before its listeners get a turn.
TURN_SECONDS = 0.0002
# How long the listeners of a run that is too long to be kept wait for one who does not read.
PATIENCE_SECONDS = 10.0


class LaggardError(MLServerError):
    """Others listen to the same run, and cannot wait any longer."""

    def __init__(self) -> None:
        super().__init__(
            "This stream was shared with others and was read too slowly; ask again with the "
            'parameter "cache": "skip" for a run of its own.',
            408,
        )


class Budget:
    """Bytes that all runs together may keep."""

    def __init__(self, bytes: int) -> None:
        self._left = bytes

    def take(self, bytes: int) -> bool:
        """Take some, if there are as many."""
        if bytes > self._left:
            return False
        self._left -= bytes
        return True

    def give(self, bytes: int) -> None:
        self._left += bytes


class Flight:
    """A run and its listeners.

    Attributes:
        keeps: whether its beginning is still there, for others to join and to be stored.
    """

    def __init__(
        self,
        budget: Budget,
        keep_bytes: int,
        window: int,
        on_end: Callable[[Flight, Recording | None], Awaitable[None]],
        on_close: Callable[[Flight], None],
    ) -> None:
        """
        Args:
            keep_bytes: what may be kept of it, 0 for nothing.
            window: responses that may wait for the slowest listener once nothing is kept.
            on_end: awaited when the run has ended, with the recording where it is whole.
            on_close: called when nobody may join any more; perhaps more than once.
        """
        self.keeps = keep_bytes > 0
        self._budget = budget
        self._keep_bytes = keep_bytes
        self._window = window
        self._on_end = on_end
        self._on_close = on_close
        self._records: list[Recorded] = []
        self._first = 0  # the index of the first one that is there
        self._taken = 0  # of the budget
        self._overflowed = not self.keeps
        self._sound = True
        self._ended = False
        self._error: BaseException | None = None
        self._traceback: TracebackType | None = None
        self._seats: set[Seat] = set()
        self._waiting: list[asyncio.Future[None]] = []
        self._room: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self, responses: AsyncGenerator[InferenceResponse, None]) -> None:
        """Run the model, in a task that has the context of this one but serves no single call."""
        context = copy_context()
        context.run(calls.CURRENT.set, None)
        self._task = asyncio.create_task(self._run(responses), context=context)

    def join(self) -> Seat:
        """Listen, from the beginning."""
        seat = Seat(self)
        self._seats.add(seat)
        return seat

    def leave(self, seat: Seat) -> None:
        """Listen no more; the last one ends the run."""
        self._seats.discard(seat)
        if self._seats:
            self._drop_heard()
            return
        self._release(self._taken)
        if not self._ended and self._task is not None:
            self._close()
            self._task.cancel()

    async def _run(self, responses: AsyncGenerator[InferenceResponse, None]) -> None:
        started = monotonic()
        turn_due = 0.0
        try:
            async with aclosing(responses):
                async for response in responses:
                    now = monotonic()
                    self._sound = self._sound and failure_of(response) is None
                    self._add(Recorded.of(response, now - started))
                    if self._overflowed:
                        await self._wait_for_room()
                    if now >= turn_due:
                        await asyncio.sleep(0)
                        turn_due = monotonic() + TURN_SECONDS
        except asyncio.CancelledError:
            # Nobody listens any more; or the model has cancelled itself, which is a failure.
            self._error = RuntimeError("The model's stream was cancelled from within.")
        except Exception as error:
            self._error, self._traceback = error, error.__traceback__
        self._ended = True
        self._wake()
        try:
            await self._on_end(self, self._whole())
        finally:
            self._close()

    def _whole(self) -> Recording | None:
        """The recording of a run that has ended well; None of any other."""
        if not self.keeps or not self._sound or self._error is not None:
            return None
        return Recording([record.part for record in self._records if record.part is not None])

    def _add(self, record: Recorded) -> None:
        self._records.append(record)
        if not self._overflowed:
            size = record.size
            fits = record.part is not None and self._taken + size <= self._keep_bytes
            if fits and self._budget.take(size):
                self._taken += size
            else:
                self._overflowed = True
                self._close()
                self._drop_heard()
        self._wake()

    def _close(self) -> None:
        """Let nobody join from now on."""
        self.keeps = False
        self._on_close(self)

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    def _drop_heard(self) -> None:
        """Once the run is too long to be kept: forget what everybody has heard."""
        if not self._overflowed or not self._seats:
            return
        heard = min(seat.heard for seat in self._seats) - self._first
        self._release(min(self._taken, sum(record.size for record in self._records[:heard])))
        del self._records[:heard]
        self._first += heard
        if self._room is not None and len(self._records) < self._window:
            if not self._room.done():
                self._room.set_result(None)
            self._room = None

    def _release(self, bytes: int) -> None:
        self._taken -= bytes
        self._budget.give(bytes)

    async def _wait_for_room(self) -> None:
        self._drop_heard()
        while len(self._records) >= self._window:
            self._room = asyncio.get_running_loop().create_future()
            # One who listens alone may take his time: his call's own limits end it.
            patience = PATIENCE_SECONDS if len(self._seats) > 1 else None
            done, _ = await asyncio.wait([self._room], timeout=patience)
            if not done:
                self._send_off_laggards()

    def _send_off_laggards(self) -> None:
        """Those for whom others wait."""
        last = [seat for seat in self._seats if seat.heard == self._first]
        if len(last) < len(self._seats):
            for seat in last:
                seat.sent_off = True
                self._seats.discard(seat)
            self._wake()
            self._drop_heard()


class Seat:
    """One who listens to a run. Iterate it once; `leave` it in the end, also when it has ended."""

    __slots__ = ("_flight", "heard", "sent_off")

    def __init__(self, flight: Flight) -> None:
        self.heard = 0
        self.sent_off = False
        self._flight = flight

    def __aiter__(self) -> Seat:
        return self

    async def __anext__(self) -> Recorded:
        """The next response.

        Raises:
            LaggardError: the others could not wait.
            whatever the model raised, for each who listens.
        """
        flight = self._flight
        while not self.sent_off:
            at = self.heard - flight._first
            if at < len(flight._records):
                record = flight._records[at]
                self.heard += 1
                if flight._overflowed:
                    flight._drop_heard()
                return record
            if flight._ended:
                if flight._error is not None:
                    # The same error for all: without the frames of those who raised it before.
                    raise flight._error.with_traceback(flight._traceback)
                raise StopAsyncIteration
            future = asyncio.get_running_loop().create_future()
            flight._waiting.append(future)
            await future
        raise LaggardError

    def leave(self) -> None:
        self._flight.leave(self)
