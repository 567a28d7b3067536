"""All streams that outlive their connections: begun, found, gone on with.

Settled, for a store that other replicas share: `Head`, `Position`, `Run` (made with a head, it does
whatever work it is given, and adds what comes of it), `Reader.batches` (a stream as it is taken
down, from any response on) and `find`, which is where a stream that is not here is looked for.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any

from mlserver import MLModel
from mlserver.types import InferenceRequest

from ..access import callers
from ..errors import (
    BadRequestError,
    NoSuchStreamError,
    StoreLostError,
)
from ..streams import calls
from ..streams.answers import One
from ..streams.calls import REQUEST_ID
from ..streams.data_plane import RESUMABLE, StreamingDataPlane
from .elsewhere import Elsewhere, Owned
from .figures import ResumeFigures
from .going_on import can_go_on
from .head import Head
from .kept_runs import KeptRuns
from .position import Position, new_id
from .reader import Reader
from .run import Run
from .taking_down import TakingDown


class Runs(KeptRuns):
    """The data plane's streams that outlive their connections."""

    def __init__(self, data_plane: StreamingDataPlane, figures: ResumeFigures | None = None):
        """
        Args:
            figures: the metrics; made here where they are not given.
        """
        super().__init__(data_plane.streaming.resume, figures or ResumeFigures())
        self._data_plane = data_plane
        self._taking_down = TakingDown(data_plane, self.seconds)

    @property
    def seconds(self) -> float:
        """How long a reader may be away, whatever happens meanwhile."""
        return min(self._settings.seconds_without_reader, self._settings.seconds_kept)

    def is_wanted(self, payload: InferenceRequest, model: MLModel) -> bool:
        """Whether the stream that answers a request is to be resumable.

        Raises:
            BadRequestError: the request does not say so in a way that can be understood.
        """
        given = payload.parameters.model_extra if payload.parameters is not None else None
        if given and (wish := given.get(RESUMABLE)) is not None:
            if not isinstance(wish, bool):
                raise BadRequestError(f"Parameter '{RESUMABLE}' must be true or false.")
            return wish
        if self._settings.always:
            return True
        declared = model.settings.parameters
        return bool(declared and declared.extra and declared.extra.get(RESUMABLE) is True)

    def begin(
        self,
        requests: AsyncIterator[InferenceRequest],
        first: InferenceRequest,
        model: MLModel,
        version: str | None,
        slot: Callable[[], AbstractAsyncContextManager[None]],
        came: float | None = None,
        form: Mapping[str, Any] | None = None,
        stream: str | None = None,
    ) -> Run:
        """Have a model answer a stream of requests, in the current call's name but beyond its end.

        Args:
            first: of the requests; its `timeout` is the stream's.
            version: as it was asked for.
            slot: gives what the run is to hold of the limits.
            came: the loop's time when it was here; None is now.
            form: how its responses are written (Head.form).
            stream: its id, which nobody must be able to guess; None for a new one.

        Raises:
            OverLimitError: the caller has as many streams as may be.
        """
        owner = callers.current().identity
        self.admit(owner)
        call = calls.current()
        waited = 0.0 if came is None else asyncio.get_running_loop().time() - came
        head = Head(
            id=stream or new_id(),
            owner=owner,
            model=model.name,
            version=version,
            served=model.version,
            protocol=call.protocol if call else "",
            began=time.time() - waited,
            seconds_kept=self._settings.seconds_kept,
            form=form or {},
        )
        run = self.keep(Run(head, self._settings, self))
        headers = {REQUEST_ID: call.request_id} if call and call.request_id else {}
        held = slot()
        is_only = isinstance(requests, One)
        if self.sharing is not None:
            requests = self.sharing.published.begin(run, model, first, requests)

        async def work(run: Run) -> None:
            opened = self._data_plane.calls.open(head.protocol, headers, slot=held)
            async with opened as own:
                run.stop_work = own.stop
                own.set_timeout(first, came)
                stream = self._data_plane.infer_stream(requests, head.model, head.version)
                if is_only and can_go_on(model, first):
                    await self._taking_down.say_all(run, own, stream, model, first)
                else:
                    await self._taking_down.say(run, own, stream)

        run.start(work)
        return run

    def go_on(
        self,
        run: Run,
        model: MLModel,
        request: InferenceRequest,
        slot: AbstractAsyncContextManager[None],
    ) -> None:
        """Have a run say more, which began elsewhere: it has what is left of its request's
        `timeout`, and of `limits.stream_seconds`."""
        rest = self._taking_down.rest(run, model, request)

        async def work(run: Run) -> None:
            opened = self._data_plane.calls.open(run.head.protocol, {}, slot=slot)
            async with opened as own:
                run.stop_work = own.stop
                # By the clocks of two machines.
                age = max(0.0, time.time() - run.head.began)
                own.opened -= age
                own.set_timeout(request, asyncio.get_running_loop().time() - age)
                await self._taking_down.say_all(run, own, rest, model, request)

        run.start(work)

    async def find(self, stream: str) -> Run:
        """A stream of the current caller.

        Raises:
            NoSuchStreamError: the caller has none of this id.
            ForbiddenError: the caller may not use its model any more.
        """
        run = self._runs.get(stream)
        if run is None and self.sharing is not None:
            run = await self.sharing.find(stream)
        if run is None or run.head.owner != callers.current().identity:
            raise NoSuchStreamError(stream)
        callers.authorise(run.head.model)
        if run.ended and self.sharing is not None and await self.sharing.is_deleted(run):
            run.forget()
            raise NoSuchStreamError(stream)
        return run

    async def look(self, stream: str) -> Run | Elsewhere:
        """A stream of the current caller as it is: where its instance is gone, none goes on with it
        for that.

        Raises:
            as `find`.
        """
        if stream in self._runs or self.sharing is None:
            return await self.find(stream)
        return await self.sharing.look(stream)

    async def cancel(self, stream: str) -> None:
        """End a stream of the current caller, wherever it runs, and have it found no more.

        Raises:
            as `find`.
        """
        if stream in self._runs or self.sharing is None:
            if deleting := (await self.find(stream)).cancel():
                await asyncio.shield(deleting)
        else:
            await self.sharing.cancel(stream)

    async def resume(self, position: Position) -> Reader:
        """Read a stream of the current caller on.

        Raises:
            NoSuchStreamError, ForbiddenError: as `find`.
            StillAheadError, ForgottenError, OverLimitError: as `Run.join`.
        """
        run = await self.find(position.stream)
        if self.sharing is not None:
            await self.sharing.reach(run, position)
        reader = run.join(position.after)
        self.figures.came_back.inc()
        return reader

    def moved_behind(self, stream: str, run: Run) -> int | None:
        """Behind which response the run that was found for a stream goes on under another id; None
        where it is that stream."""
        if self.sharing is None or stream == run.head.id:
            return None
        return self.sharing.moved_behind(stream)

    def is_over(self, run: Run, position: Position) -> bool:
        """Whether a reader with this place in a stream that was found has all of it, which ended
        well."""
        behind = self.moved_behind(position.stream, run)
        # Behind where it moved, what he has is not what was said here.
        return run.is_over(position.after) and (behind is None or position.after <= behind)

    async def own(self) -> Owned:
        """The current caller's, the oldest first; then those that other instances have."""
        owner = callers.current().identity
        own = self._owned.get(owner, {})
        try:
            others = [] if self.sharing is None else await self.sharing.others(owner, own.keys())
        except StoreLostError:
            return Owned([*own.values()], False)
        return Owned([*own.values(), *others])

    async def known(self, run: Run) -> None:
        """Wait until whoever is told of a run finds it, here or elsewhere."""
        if self.sharing is not None:
            await self.sharing.published.known(run)

    def hand_over(self) -> None:
        """The service stops: what other instances can go on with is theirs."""
        if self.sharing is not None:
            self.sharing.hand_over()

    async def close(self) -> None:
        """The service has stopped."""
        if self.sharing is not None:
            await self.sharing.close()
