"""This instance's part in what all keep together: its runs are written to the store, others' are
read from it, and taken over where their instance is gone.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Collection
from contextlib import aclosing, suppress
from dataclasses import replace
from typing import Any, Protocol
from weakref import WeakSet

from mlserver import MLModel
from mlserver.types import InferenceRequest
from mlserver.utils import generate_uuid

from ..access import callers
from ..errors import (
    CatchingUpError,
    DrainingError,
    ForgottenError,
    LostStreamError,
    MovedError,
    NoSuchStreamError,
    StoreLostError,
)
from ..models.messages import set_id
from ..recordings.recorded import Recorded
from ..recordings.recording import MalformedError
from ..settings import ResumeSettings
from ..streams.answers import One, can_resume
from ..streams.calls import Taken
from ..streams.data_plane import StreamingDataPlane
from .elsewhere import Elsewhere
from .figures import StoreFigures
from .head import Head
from .mirror import Mirror, records_behind
from .position import Position, new_id
from .publisher import Publisher
from .request_bytes import pack_head, unpack_head
from .run import Run, Shared
from .store import GoneError, Kept, LeftBehindError, NotHeldError, Store, StoreError
from .taking_over import can_go_on, is_repeatable

# How long a reader from elsewhere, who has more than the store, is waited for.
AHEAD_SECONDS = 2.0
# How long a stream may take to be known in the store.
BEGIN_SECONDS = 0.05


class Counted:
    """A stream's requests, counted.

    Attributes:
        first: the first of them, once it is read.
    """

    def __init__(self, requests: AsyncIterator[InferenceRequest]) -> None:
        self._requests = requests
        self._count = 0
        self._ended = False
        self.first: InferenceRequest | None = None

    def __aiter__(self) -> Counted:
        return self

    async def __anext__(self) -> InferenceRequest:
        try:
            request = await anext(self._requests)
        except StopAsyncIteration:
            self._ended = True
            raise
        self._count += 1
        if self._count == 1:
            _set_id(request)
            self.first = request
        return request

    @property
    def was_sole(self) -> bool:
        """Whether there was one, and there are no more."""
        ended = self._ended or getattr(self._requests, "has_ended", False)
        return self._count == 1 and ended


class Runner(Shared, Protocol):
    """Who has this instance's runs."""

    def keep(self, run: Run) -> Run: ...

    def admit(self, owner: str) -> None:
        """Make room for one more of a caller's. Raises OverLimitError."""

    def go_on(self, run: Run, model: MLModel, request: InferenceRequest, slot: Any) -> None:
        """Have a run say what a model says, in a slot of the limits, for a request of long ago."""


class Sharing:
    """
    Attributes:
        store: what all instances share.
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
        self._data_plane, self._settings, self._runs = data_plane, settings, runs
        # Runs of ours that another instance could go on with.
        self._portable: dict[str, Run] = {}
        self._publishers: dict[str, Publisher] = {}
        # Others' that are read here.
        self._mirrors: WeakSet[Mirror] = WeakSet()
        self._tasks: set[asyncio.Task[Any]] = set()
        # Streams that go on under another id here, and behind which response.
        self._moved: dict[str, tuple[Run, int]] = {}
        self._finding: dict[tuple[str, str], asyncio.Task[Run]] = {}

    def begin(
        self,
        run: Run,
        model: MLModel,
        first: InferenceRequest,
        requests: AsyncIterator[InferenceRequest],
    ) -> AsyncIterator[InferenceRequest]:
        """Write a run that begins here; gives its requests, which are to be read instead.

        Args:
            first: of the requests.
        """
        if isinstance(requests, One):
            _set_id(first)
            self._publish(run, model, first, begins=True)
            return requests
        publisher = self._publish(run, model, None, begins=True)

        counted = Counted(requests)

        def head() -> bytes | None:
            # Not `first`, which may have been another stream's before this one.
            sole = counted.first if counted.was_sole else None
            if sole is None or not can_go_on(model, sole):
                return None
            self._portable[run.head.id] = run
            return pack_head(run.head, sole)

        publisher.ask_for_head(head)
        return counted

    def _publish(
        self,
        run: Run,
        model: MLModel,
        request: InferenceRequest | None,
        *,
        begins: bool,
        stored: int = 0,
    ) -> Publisher:
        portable = request is not None and can_go_on(model, request)
        head = pack_head(run.head, request if portable else None) if begins else None
        publisher = Publisher(run, self.store, self._settings.store.lease_seconds, stored)
        publisher.start(head, can_resume(model) and not is_repeatable(model))
        if portable:
            self._portable[run.head.id] = run
        self._publishers[run.head.id] = publisher
        task = self._spawn(publisher.done())
        task.add_done_callback(lambda _: self._over(run))
        return publisher

    def _over(self, run: Run) -> None:
        del self._publishers[run.head.id]
        self._portable.pop(run.head.id, None)

    async def known(self, run: Run, number: int = 0) -> None:
        """Wait until other instances can find a run of ours, up to a response; or never will."""
        if publisher := self._publishers.get(run.head.id):
            await publisher.begun.wait()
            await publisher.reached(number)

    async def find(self, stream: str) -> Run:
        """A stream of the current caller that is not here. Many who ask at once look once.

        Raises:
            NoSuchStreamError: the caller has none of this id.
            StoreLostError
            LostStreamError: it was lost with its instance.
            MLServerError: it cannot be taken over now.
        """
        owner = callers.current().identity
        run, _ = self._moved.get(stream, (None, 0))
        if run is not None and run.head.owner == owner and not run.is_forgotten:
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
            await self._model_for(kept, head, request)
        return Elsewhere.of(head, kept)

    async def cancel(self, stream: str) -> None:
        """End a stream of the current caller that is not here: who runs it ends it, and where
        nobody does, nobody will.

        Raises:
            NoSuchStreamError, StoreLostError: as `find`.
        """
        _, head, _ = await self._known(stream)
        try:
            await self.store.cancel(head.id, delete=True)
        except StoreError as error:
            raise StoreLostError() from error

    def delete(self, run: Run) -> asyncio.Task[None]:
        """Have a run that is cancelled here found nowhere else."""

        async def delete() -> None:
            await self.known(run)
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
        return self._moved[stream][1]

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
                return await self._take_over(stream, kept, head, request)
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
        self._remember(stream, run, kept.last)
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

    async def _take_over(
        self, stream: str, kept: Kept, head: Head, request: InferenceRequest | None
    ) -> Run:
        """Nobody runs it any more: it goes on here, or not at all."""
        if self._data_plane.calls.stopping:
            raise DrainingError()
        try:
            model, request = await self._model_for(kept, head, request)
        except LostStreamError:
            self._figures.lost.inc()
            raise
        repeats = is_repeatable(model)
        self._runs.admit(head.owner)
        slot = self._data_plane.calls.slot_at_once()
        await slot.__aenter__()
        taken = False
        try:
            taken = await self.store.take(stream)
        finally:
            if not taken:
                await slot.__aexit__(None, None, None)
        if not taken:
            return await self._find(stream, head.owner)  # another was faster
        try:
            # Again: it may have been written to before we held it.
            kept = await self.store.look(stream, head.owner)
            records = await self._records(stream, kept)
        except BaseException:
            await slot.__aexit__(None, None, None)
            raise
        going_on = head if repeats else replace(head, id=new_id())
        run = Run(going_on, self._settings, self._runs, said=kept.first - 1)
        run.began_elsewhere = True
        for record in records:
            run.add(record)
        self._runs.keep(run)
        self._figures.taken_over.inc()
        self._runs.go_on(run, model, request, Taken(slot))
        if repeats:
            self._publish(run, model, request, begins=False, stored=kept.last)
        else:
            publisher = self._publish(run, model, request, begins=True)
            self._remember(stream, run, kept.last)
            await publisher.reached(kept.last)
            with suppress(StoreError, NotHeldError):
                await self.store.move(stream, head.owner, run.head.id)
        return run

    async def _model_for(
        self, kept: Kept, head: Head, request: InferenceRequest | None
    ) -> tuple[MLModel, InferenceRequest]:
        """The model that can go on with a stream that nobody runs, and with what request.

        Raises:
            LostStreamError: none can.
            MLServerError: it is not here now.
        """
        model = await self._data_plane.model(head.model, head.version)
        if request is None or not can_go_on(model, request):
            raise LostStreamError(kept.last)
        if kept.first > 1 and not is_repeatable(model):
            raise LostStreamError(kept.last)
        return model, request

    async def _records(self, stream: str, kept: Kept) -> list[Recorded]:
        found: list[Recorded] = []
        after = kept.first - 1
        async with aclosing(self.store.read(stream, after, kept.last)) as parts:
            async for part in parts:
                found += records_behind(part, after)
                after = part.last
        return found

    def _remember(self, stream: str, run: Run, last: int) -> None:
        for known, (each, _) in list(self._moved.items()):
            if each.is_forgotten:
                del self._moved[known]
        self._moved[stream] = run, last

    async def _cancel(self, head: Head, delete: bool) -> None:
        with suppress(StoreError):
            await self.store.cancel(head.id, delete)

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
        self._figures.handed_over.inc(sum(not run.ended for run in self._portable.values()))
        for run in [*self._portable.values(), *self._mirrors]:
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


def _set_id(request: InferenceRequest) -> None:
    """Have a request an id: it is the same where it is asked again."""
    if not request.id:
        set_id(request, generate_uuid())


def _is_gone(kept: Kept) -> bool:
    """Whether it is deleted, or was cancelled and nobody is left to end it."""
    return kept.is_deleted or (kept.is_cancelled and kept.ending is None and not kept.is_held)
