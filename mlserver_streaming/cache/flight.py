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
from contextlib import AbstractContextManager, aclosing
from contextvars import copy_context
from time import monotonic
from types import TracebackType

from mlserver.types import InferenceResponse

from ..errors import MLServerError, failure_of
from ..recordings.recorded import Recorded
from ..streams import calls

# How long a model that never waits may go on before its listeners get a turn, and how long a round
# of all runs may take.
TURN_SECONDS = 0.0002
ROUND_SECONDS = 0.0015
# How long the listeners of a run that is too long to be kept wait for one who does not read.
PATIENCE_SECONDS = 10.0


# What Python holds for a response of one small tensor, beside its data; measured.
RESPONSE_BYTES = 2560


# Responses that are kept of a run: Python's garbage collector looks through all of them again and
# again, and everybody waits, 3 ms for so many.
MOST_KEPT = 16_384

# Responses that a listener gets at once.
SOME = 128


class LaggardError(MLServerError):
    """Others listen to the same run, and cannot wait any longer."""

    def __init__(self) -> None:
        super().__init__(
            "This stream was shared with others and was read too slowly; ask again with the "
            'parameter "cache": "skip" for a run of its own.',
            408,
        )


class Budget:
    """What all runs share: bytes that they may keep, and the loop.

    Attributes:
        runs: how many there are.
    """

    def __init__(self, bytes: int) -> None:
        self.runs = 0
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
        ended: whether the model has said all.
        superseded: whether another was begun for the same question, later.
    """

    def __init__(
        self,
        budget: Budget,
        keep_bytes: int,
        window: int,
        on_whole: Callable[[Flight, list[Recorded]], Awaitable[None]],
        on_lost: Callable[[Flight, bool], Awaitable[None]],
        on_close: Callable[[Flight], None],
    ) -> None:
        """
        Args:
            keep_bytes: what may be kept of it, 0 for nothing.
            window: responses that may wait for the slowest listener once nothing is kept.
            on_whole: awaited when the run has ended well, with all that it said.
            on_lost: awaited when it is known that the run will not be stored though somebody heard
                it: with True where it failed, with False where it says more than may be kept.
            on_close: called when nobody may join any more; perhaps more than once.
        """
        self.keeps = keep_bytes > 0
        self._budget = budget
        self._keep_bytes = keep_bytes
        self._window = window
        self._on_whole = on_whole
        self._on_lost = on_lost
        self._on_close = on_close
        self._records: list[Recorded] = []
        self._first = 0  # the index of the first one that is there
        self._data = 0  # bytes, while they are counted
        self._taken = 0  # of the budget
        self._overflowed = not self.keeps
        self._sound = True
        self.ended = self.superseded = False
        self._error: BaseException | None = None
        self._traceback: TracebackType | None = None
        self._seats: set[Seat] = set()
        self._waiting: list[asyncio.Future[None]] = []
        self._room: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None

    def start(
        self,
        responses: AsyncGenerator[InferenceResponse, None],
        while_running: AbstractContextManager[None],
    ) -> None:
        """Run the model, in a task that has the context of this one but serves no single call."""
        context = copy_context()
        context.run(calls.CURRENT.set, None)
        self._task = asyncio.create_task(self._run(responses, while_running), context=context)

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
        if not self.ended and self._task is not None:
            self._close()
            self._task.cancel()

    async def _run(
        self,
        responses: AsyncGenerator[InferenceResponse, None],
        while_running: AbstractContextManager[None],
    ) -> None:
        started = monotonic()
        turn_due = 0.0
        self._budget.runs += 1
        try:
            with while_running:
                async with aclosing(responses):
                    async for response in responses:
                        now = monotonic()
                        if not response.outputs and failure_of(response) is not None:
                            self._sound = False
                        kept = not self._overflowed
                        self._add(await Recorded.taken_down(response, now - started))
                        if self._overflowed:
                            if kept:
                                await self._on_lost(self, False)
                            await self._wait_for_room()
                        if now >= turn_due:
                            await asyncio.sleep(0)
                            turn = min(TURN_SECONDS, ROUND_SECONDS / self._budget.runs)
                            turn_due = monotonic() + turn
        except asyncio.CancelledError:
            # Nobody listens any more; or the model has cancelled itself, which is a failure.
            self._error = RuntimeError("The model's stream was cancelled from within.")
        except Exception as error:
            self._error, self._traceback = error, error.__traceback__
        self._budget.runs -= 1
        self.ended = True
        self._wake()
        try:
            if self.keeps and self._sound and self._error is None:
                await self._on_whole(self, self._records)
            elif self.keeps:
                await self._on_lost(self, True)
        finally:
            self._close()

    def _add(self, record: Recorded) -> None:
        self._records.append(record)
        if not self._overflowed:
            size = record.size
            self._data += size
            held = size + RESPONSE_BYTES
            fits = self._data <= self._keep_bytes and len(self._records) <= MOST_KEPT
            if fits and self._budget.take(held):
                self._taken += held
            else:
                self._overflowed = True
                self._close()
                self._drop_heard()
        if self._waiting:
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
        held = sum(record.size + RESPONSE_BYTES for record in self._records[:heard])
        self._release(min(self._taken, held))
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

    async def __anext__(self) -> list[Recorded]:
        """The next responses, up to SOME of those that there are.

        Raises:
            LaggardError: the others could not wait.
            whatever the model raised, for each who listens.
        """
        flight = self._flight
        while not self.sent_off:
            at = self.heard - flight._first
            if some := flight._records[at : at + SOME]:
                self.heard += len(some)
                if flight._overflowed:
                    flight._drop_heard()
                return some
            if flight.ended:
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
