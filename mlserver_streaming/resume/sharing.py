"""This instance's part in what all keep together: its runs are written to the store, others' are
read from it, and taken over where their instance is gone.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Collection
from contextlib import suppress
from typing import Any
from weakref import WeakSet

from mlserver.types import InferenceRequest

from ..access import callers
from ..errors import (
    CatchingUpError,
    ForgottenError,
    LostStreamError,
    MovedError,
    NoSuchStreamError,
    StoreLostError,
)
from ..recordings.recording import MalformedError
from ..settings import ResumeSettings
from ..streams.data_plane import StreamingDataPlane
from .elsewhere import Elsewhere
from .figures import StoreFigures
from .head import Head
from .mirror import Mirror
from .moves import Moves
from .position import Position
from .publications import Publications
from .request_bytes import unpack_head
from .run import Run
from .store import GoneError, Kept, LeftBehindError, NotHeldError, Store, StoreError, twice
from .taking_over import Runner, TakingOver

# How long a reader from elsewhere, who has more than the store, is waited for.
AHEAD_SECONDS = 2.0
# How long a stream may take to be known in the store.
BEGIN_SECONDS = 0.05


class Sharing:
    """
    Attributes:
        store: what all instances share.
        published: our runs there.
    """

    def __init__(
        self,
        store: Store,
        data_plane: StreamingDataPlane,
        settings: ResumeSettings,
        runs: Runner,
        figures: StoreFigures,
    ) -> None:
        self.store, self._figures = store, figures
        self._settings, self._runs = settings, runs
        # Others' that are read here.
        self._mirrors: WeakSet[Mirror] = WeakSet()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._finding: dict[tuple[str, str], asyncio.Task[Run]] = {}
        self._moves = Moves()
        self.published = Publications(store, settings.store.lease_seconds, self._spawn)
        self._taking_over = TakingOver(
            store, data_plane, settings, runs, figures, self.published, self._moves
        )

    async def find(self, stream: str) -> Run:
        """A stream of the current caller that is not here. Many who ask at once look once.

        Raises:
            NoSuchStreamError: the caller has none of this id.
            StoreLostError
            LostStreamError: it was lost with its instance.
            MLServerError: it cannot be taken over now.
        """
        owner = callers.current().identity
        if (run := self._moves.of(stream, owner)) is not None:
            return run
        task = self._finding.get((owner, stream))
        if task is None:
            task = self._finding[owner, stream] = self._spawn(self._find(stream, owner))
            task.add_done_callback(lambda _: self._finding.pop((owner, stream), None))
        return await asyncio.shield(task)

    async def look(self, stream: str) -> Elsewhere:
        """The same, only looked at: nothing is followed or taken over.

        Raises:
            NoSuchStreamError, StoreLostError: as `find`.
            LostStreamError: nobody runs it, and nobody can go on with it.
        """
        kept, head, request = await self._known(stream)
        if kept.ending is None and not kept.is_held:
            await self._taking_over.model_for(kept, head, request)
        return Elsewhere.of(head, kept)

    async def cancel(self, stream: str) -> None:
        """End a stream of the current caller that is not here: who runs it ends it, and where
        nobody does, nobody will.

        Raises:
            NoSuchStreamError, StoreLostError: as `find`.
        """
        if found := self._finding.get((callers.current().identity, stream)):
            # It may go on under another id in a moment.
            await asyncio.wait([found])
        _, head, _ = await self._known(stream)
        try:
            await twice(lambda: self.store.cancel(head.id, delete=True))
        except StoreError as error:
            raise StoreLostError() from error

    def delete(self, run: Run) -> asyncio.Task[None]:
        """Have a run that is cancelled here found nowhere else."""

        async def delete() -> None:
            await self.published.known(run)
            await self._cancel(run.head, delete=True)

        return self._spawn(delete())

    async def is_deleted(self, run: Run) -> bool:
        """Whether a run that has ended was deleted at another instance."""
        try:
            return (await self.store.look(run.head.id, run.head.owner)).is_deleted
        except (GoneError, StoreError):
            return False

    async def _known(self, stream: str) -> tuple[Kept, Head, InferenceRequest | None]:
        """What the store knows of a stream of the current caller, wherever it has moved."""
        try:
            while True:
                kept = await self._look(stream, callers.current().identity)
                if kept.moved is None:
                    break
                stream = kept.moved
            head, request = unpack_head(kept.head)
        except (GoneError, MalformedError):
            raise NoSuchStreamError(stream) from None
        except StoreError as error:
            raise StoreLostError() from error
        callers.authorise(head.model)
        if _is_gone(kept):
            raise NoSuchStreamError(stream)
        return kept, head, request

    async def reach(self, run: Run, position: Position) -> None:
        """Have a run, found for a position, be as far as its reader.

        Raises:
            LostStreamError: it went on behind an earlier response, under another id.
            MovedError: nobody runs it now; who comes back finds who goes on with it.
            CatchingUpError: it is on its way to where its reader is.
        """
        if position.stream != run.head.id:
            last = self.moved_behind(position.stream)
            if position.after > last:
                raise LostStreamError(last)
        elif run.began_elsewhere:
            await run.until(position.after, AHEAD_SECONDS)
            if position.after > run.log.last and isinstance(run.error, MovedError):
                # It was lost before the store had all that its reader has.
                raise MovedError()
            if position.after > run.log.last and not run.ended:
                raise CatchingUpError(run.log.last)

    def moved_behind(self, stream: str) -> int:
        """The last response of a stream, found, that goes on under another id."""
        return self._moves.behind(stream)

    async def _find(self, stream: str, owner: str) -> Run:
        try:
            kept = await self._look(stream, owner)
            head, request = unpack_head(kept.head)
            callers.authorise(head.model)
            if kept.moved is not None:
                return await self._follow_move(stream, owner, kept)
            if _is_gone(kept):
                raise NoSuchStreamError(stream)
            if kept.ending is None and not kept.is_held:
                run = await self._taking_over.take_over(stream, kept, head, request)
                return run or await self._find(stream, owner)
            return await self._mirror(head, kept)
        except (GoneError, MalformedError):
            raise NoSuchStreamError(stream) from None
        except LeftBehindError as error:
            raise ForgottenError(error.first - 1, error.first, stream) from None
        except (StoreError, NotHeldError) as error:
            raise StoreLostError() from error

    async def _look(self, stream: str, owner: str) -> Kept:
        try:
            return await self.store.look(stream, owner)
        except GoneError:
            # Its first response may have been faster than the store.
            await asyncio.sleep(BEGIN_SECONDS)
            return await self.store.look(stream, owner)

    async def _follow_move(self, stream: str, owner: str, kept: Kept) -> Run:
        assert kept.moved is not None
        run = await self._find(kept.moved, owner)
        self._moves.add(stream, run, kept.last)
        return run

    async def _mirror(self, head: Head, kept: Kept) -> Run:
        """It runs elsewhere, or has ended."""

        def cancel() -> None:
            self._spawn(self._cancel(head, delete=False))

        mirror = Mirror(head, self._settings, self._runs, self.store, kept, cancel)
        self._runs.keep(mirror)
        self._mirrors.add(mirror)
        said = kept.last if kept.ending is None else math.inf
        await mirror.until(said, self._settings.store.timeout_seconds * 4)
        return mirror

    async def _cancel(self, head: Head, delete: bool) -> None:
        with suppress(StoreError):
            await twice(lambda: self.store.cancel(head.id, delete))

    async def others(self, owner: str, known: Collection[str]) -> list[Elsewhere]:
        """A caller's streams that are not known here.

        Raises:
            StoreLostError
        """
        found = []
        try:
            kept = await self.store.streams(owner)
        except StoreError as error:
            raise StoreLostError() from error
        for stream, each in kept.items():
            if stream not in known and each.moved is None and not _is_gone(each):
                with suppress(MalformedError):
                    found.append(Elsewhere.of(unpack_head(each.head)[0], each))
        return found

    def hand_over(self) -> None:
        """This instance stops: what others can go on with is theirs, and so are the readers of what
        others run."""
        portable = self.published.portable()
        self._figures.handed_over.inc(sum(not run.ended for run in portable))
        for run in [*portable, *self._mirrors]:
            run.stop(MovedError())

    async def close(self) -> None:
        """All is written, or given up."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=self._settings.store.lease_seconds)
        await self.store.close()

    def _spawn(self, work: Any) -> asyncio.Task[Any]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _is_gone(kept: Kept) -> bool:
    """Whether it is deleted, or was cancelled and nobody is left to end it."""
    return kept.is_deleted or (kept.is_cancelled and kept.ending is None and not kept.is_held)
