"""Writes what a run says into the store, for the other instances.

The run does not wait for it, but for one thing: where only its own model can tell what comes behind
a response (another instance would go on otherwise), nobody hears a response before it is stored, so
that nobody has one that is lost with this instance. While a store fails, the run goes on for who
reads it here; once the store is back it gets what was said meanwhile, unless another instance has
taken the stream.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from time import monotonic
from typing import TypeVar

from mlserver.logging import logger

from ..errors import MLServerError, MovedError
from ..recordings.packing import pack
from .endings import ending_of
from .reader import Reader
from .run import Run
from .store import PAUSE_SECONDS, NotHeldError, Part, Store, StoreError

Result = TypeVar("Result")

# Between two writes of one stream, so that a fast one writes much at a time: at least, at most, and
# for so many times what the last one took.
REST_SECONDS, MOST_REST_SECONDS, REST_TIMES = 0.005, 0.1, 4


class Publisher:
    """
    Attributes:
        stored: the number of the last response that the store has.
        begun: set once the store knows the stream, or will not.
        is_known: whether the store knows it.
        is_lost: whether the store has not answered for so long that others may take the stream.
    """

    def __init__(self, run: Run, store: Store, lease_seconds: float, stored: int = 0) -> None:
        """
        Args:
            lease_seconds: without a write for so long, others may take the stream.
            stored: what the store has of it already, held by us.
        """
        self._run, self._store = run, store
        self._lease = lease_seconds
        self.stored = stored
        self.begun = asyncio.Event()
        self.is_known = self.is_lost = False
        self._seat: Reader | None = None
        self._rest_until = 0.0
        self._later: Callable[[], bytes | None] | None = None
        self._progress = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self, head: bytes | None, is_fenced: bool) -> None:
        """
        Args:
            head: what the store is to hold of the stream; None where it does.
            is_fenced: whether nobody is to hear what is not stored.
        """
        self._is_fenced = is_fenced
        if is_fenced:
            self._run.shown = self.stored
        self._task = asyncio.create_task(self._publish(head))

    async def done(self) -> None:
        """Wait until all of it is written, or given up."""
        if self._task is not None:
            await asyncio.wait([self._task])

    def ask_for_head(self, later: Callable[[], bytes | None]) -> None:
        """Ask at each write for what the store is to hold of the stream, until it is known."""
        self._later = later

    async def reached(self, number: int) -> None:
        """Wait until the store has a response, or there will be none, or not soon."""
        task = self._task
        while self.stored < number and not self.is_lost and task is not None and not task.done():
            self._progress.clear()
            step = asyncio.ensure_future(self._progress.wait())
            await asyncio.wait([step, task], return_when=asyncio.FIRST_COMPLETED)
            step.cancel()

    async def _publish(self, head: bytes | None) -> None:
        run = self._run
        stream, owner = run.head.id, run.head.owner
        try:
            if head is not None:
                await self._begin(head)
            self.is_known = True
            self.begun.set()
            while await self._write_next():
                pass
        except NotHeldError:
            logger.warning("A resumable stream is another instance's now, or the store forgot it.")
        except StoreError:
            # Better gone than without its end; if that is not to be, its lease runs out.
            with suppress(StoreError):
                await self._store.drop(stream, owner)
        except (TypeError, ValueError, OverflowError):  # responses without a form in bytes
            with suppress(StoreError):
                await self._store.drop(stream, owner)
        finally:
            self.begun.set()
            run.show_all()
            self._stand_up()

    async def _begin(self, head: bytes) -> None:
        stream, owner = self._run.head.id, self._run.head.owner
        try:
            await self._store.begin(stream, owner, head)
        except StoreError as error:
            # Once more, so that one late answer does not cost what others could go on with; nobody
            # waits for it, and a store that is gone is not asked for each stream that begins.
            self.begun.set()
            self._run.show_all()
            if error.is_final:
                raise
            await asyncio.sleep(PAUSE_SECONDS)
            await self._store.begin(stream, owner, head)

    async def _write_next(self) -> bool:
        """Write what there is, or that we live; whether there is more to come."""
        run = self._run
        if not self._is_fenced and not run.ended:
            await asyncio.sleep(self._rest_until - monotonic())
        await run.until(self.stored + 1, self._lease / 3)
        if run.log.first > self.stored + 1:
            raise ValueError("forgotten before it was stored")
        count, chunk = 0, b""
        if run.log.last > self.stored:
            count, chunks = run.log.chunks_after(self.stored, run.ended)
            chunk = pack(chunks)
        is_last = run.ended and self.stored + count == run.log.last
        moved = is_last and isinstance(run.error, MovedError)
        ending = ending_of(run) if is_last and not moved else None
        part = Part(self.stored, count, chunk, ending)
        if self._later is not None and not is_last and (head := self._later()) is not None:
            self._later = None
            await self._insist(lambda: self._store.amend(run.head.id, run.head.owner, head))
        began = monotonic()
        told = await self._insist(lambda: self._store.write(run.head.id, part))
        took = monotonic() - began
        rest = max(REST_SECONDS, REST_TIMES * took) if part.count else 0.0
        self._rest_until = began + took + min(MOST_REST_SECONDS, rest)
        self.stored = part.last
        self._progress.set()
        if self._is_fenced:
            run.show(self.stored)
        if moved:
            with suppress(StoreError):  # its lease runs out
                await self._store.release(run.head.id)
        if is_last:
            return False
        if told.delete:
            run.cancel()
        elif told.cancel:
            run.call_off()
        self._sit(told.read)
        return True

    async def _insist(self, question: Callable[[], Awaitable[Result]]) -> Result:
        """Ask until there is an answer, as long as the run is kept. After the lease's time it is to
        be taken anew.

        Raises:
            NotHeldError: another has it, or had it.
            StoreError: it is no use to ask again.
        """
        lost_at, was_late = monotonic() + self._lease, False
        while True:
            try:
                if self.is_lost:
                    await self._hold_again()
                return await question()
            except NotHeldError:
                if was_late:
                    raise
                # We may have been busy for too long, and nobody have taken it.
                was_late = self.is_lost = True
                continue
            except StoreError as error:
                # Readers here need not wait; what they hear from now on cannot be had elsewhere.
                self._run.show_all()
                if error.is_final or self._run.is_forgotten:
                    raise
                if not self.is_lost and monotonic() > lost_at:
                    self.is_lost = True
                    self._progress.set()
                    self._stand_up()
            await asyncio.sleep(self._lease / 3 if self.is_lost else PAUSE_SECONDS)

    async def _hold_again(self) -> None:
        if not await self._store.take(self._run.head.id):
            raise NotHeldError
        self.is_lost = False

    def _sit(self, read: bool) -> None:
        """Be a reader, for those elsewhere."""
        if not read:
            self._stand_up()
            return
        if self._seat is None:
            with suppress(MLServerError):
                self._seat = self._run.join(self.stored)
        if self._seat is not None:
            self._seat.heard = self.stored
            self._run.was_heard()

    def _stand_up(self) -> None:
        if self._seat is not None:
            self._seat.leave()
            self._seat = None
