"""Streams that nobody runs any more: they go on at this instance, or not at all."""

from __future__ import annotations

from contextlib import aclosing, suppress
from dataclasses import replace
from typing import Any, Protocol

from mlserver import MLModel
from mlserver.types import InferenceRequest

from ..errors import DrainingError, LostStreamError
from ..recordings.recorded import Recorded
from ..settings import ResumeSettings
from ..streams.calls import Taken
from ..streams.data_plane import StreamingDataPlane
from .figures import StoreFigures
from .going_on import can_go_on, is_repeatable
from .head import Head
from .mirror import records_behind
from .moves import Moves
from .position import new_id
from .publications import Publications
from .run import Run, Shared
from .store import Kept, NotHeldError, Store, StoreError, twice


class Runner(Shared, Protocol):
    """Who has this instance's runs."""

    def keep(self, run: Run) -> Run: ...

    def admit(self, owner: str) -> None:
        """Make room for one more of a caller's. Raises OverLimitError."""

    def go_on(self, run: Run, model: MLModel, request: InferenceRequest, slot: Any) -> None:
        """Have a run say what a model says, in a slot of the limits, for a request of long ago."""


class TakingOver:
    def __init__(
        self,
        store: Store,
        data_plane: StreamingDataPlane,
        settings: ResumeSettings,
        runs: Runner,
        figures: StoreFigures,
        published: Publications,
        moves: Moves,
    ) -> None:
        self._store, self._data_plane, self._settings = store, data_plane, settings
        self._runs, self._figures = runs, figures
        self._published, self._moves = published, moves

    async def take_over(
        self, stream: str, kept: Kept, head: Head, request: InferenceRequest | None
    ) -> Run | None:
        """Have a stream go on here; None where another instance was faster.

        Raises:
            LostStreamError: no model can go on with it.
            DrainingError: this instance stops.
            StoreError, NotHeldError, GoneError, LeftBehindError
            MLServerError: it cannot be taken over now.
        """
        if self._data_plane.calls.stopping:
            raise DrainingError()
        try:
            model, request = await self.model_for(kept, head, request)
        except LostStreamError:
            self._figures.lost.inc()
            raise
        repeats = is_repeatable(model)
        self._runs.admit(head.owner)
        slot = self._data_plane.calls.slot_at_once()
        await slot.__aenter__()
        taken = False
        try:
            taken = await self._store.take(stream)
        finally:
            if not taken:
                await slot.__aexit__(None, None, None)
        if not taken:
            return None
        try:
            # Again: it may have been written to before we held it.
            kept = await self._store.look(stream, head.owner)
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
            self._published.publish(run, model, request, begins=False, stored=kept.last)
        else:
            publisher = self._published.publish(run, model, request, begins=True)
            self._moves.add(stream, run, kept.last)
            await publisher.reached(kept.last)
            if not publisher.is_known or publisher.stored < kept.last:
                return run  # for who reads it here: nobody else would find it under its new id
            with suppress(StoreError, NotHeldError):
                await twice(lambda: self._store.move(stream, head.owner, run.head.id))
        return run

    async def model_for(
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
        async with aclosing(self._store.read(stream, after, kept.last)) as parts:
            async for part in parts:
                found += records_behind(part, after)
                after = part.last
        return found
