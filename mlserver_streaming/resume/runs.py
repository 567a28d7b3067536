"""All streams that outlive their connections: begun, found, bounded.

Settled, for a store that other replicas share: `Head`, `Position`, `Run` (made with a head, it does
whatever work it is given, and adds what comes of it), `Reader.batches` (a stream as it is taken
down, from any response on) and `find`, which is where a stream that is not here is looked for.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, aclosing, suppress
from typing import Any

from mlserver import MLModel
from mlserver.types import InferenceRequest, InferenceResponse, Parameters

from ..access import callers
from ..errors import (
    BadRequestError,
    NoSuchStreamError,
    OverLimitError,
    StoreLostError,
    UnreadError,
    WorkerLostError,
)
from ..recordings.recorded import said_by, set_apart
from ..streams import calls
from ..streams.answers import One
from ..streams.calls import REQUEST_ID, Call
from ..streams.data_plane import RESUMABLE, StreamingDataPlane
from .elsewhere import Elsewhere, Owned
from .figures import ROOM, UNREAD, ResumeFigures
from .head import Head
from .position import Position, new_id
from .reader import Reader
from .run import Run
from .sharing import Sharing
from .taking_over import can_go_on, records_of, rest_of

# So many workers that say nothing more may be lost under one stream.
WORKERS_LOST = 3
# For how long a stream whose worker is lost waits for another, and how often it looks.
WORKER_SECONDS, LOOK_SECONDS = 60.0, 0.1
# The parameter of a stream's first response: how long its reader may be away.
RESUME_SECONDS = "resume_seconds"


class Runs:
    """The data plane's streams that outlive their connections.

    Attributes:
        bytes: what they hold, in all.
    """

    def __init__(self, data_plane: StreamingDataPlane, figures: ResumeFigures | None = None):
        """
        Args:
            figures: the metrics; made here where they are not given.
        """
        self.bytes = 0
        self.figures = figures or ResumeFigures()
        self._data_plane = data_plane
        self._settings = data_plane.streaming.resume
        self._runs: dict[str, Run] = {}
        # Each caller's, the oldest first.
        self._owned: dict[str, dict[str, Run]] = {}
        # Those that have ended, in that order: all that is looked through where room is needed.
        self._ended: dict[str, Run] = {}
        self._waiting: set[asyncio.Future[None]] = set()
        # What other instances have to do with it, where there is a store.
        self.sharing: Sharing | None = None
        self.figures.hold(lambda: len(self._runs), lambda: self.bytes)

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
            requests = self.sharing.begin(run, model, first, requests)

        async def work(run: Run) -> None:
            opened = self._data_plane.calls.open(head.protocol, headers, slot=held)
            async with opened as own:
                run.stop_work = own.stop
                own.set_timeout(first, came)
                stream = self._data_plane.infer_stream(requests, head.model, head.version)
                if is_only and can_go_on(model, first):
                    await self._say_all(run, own, stream, model, first)
                else:
                    await self._say(run, own, stream)

        run.start(work)
        return run

    def keep(self, run: Run) -> Run:
        """Let a run be found."""
        self._runs[run.head.id] = run
        self._owned.setdefault(run.head.owner, {})[run.head.id] = run
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
        rest = self._rest(run, model, request)

        async def work(run: Run) -> None:
            opened = self._data_plane.calls.open(run.head.protocol, {}, slot=slot)
            async with opened as own:
                run.stop_work = own.stop
                # By the clocks of two machines.
                age = max(0.0, time.time() - run.head.began)
                own.opened -= age
                own.set_timeout(request, asyncio.get_running_loop().time() - age)
                await self._say_all(run, own, rest, model, request)

        run.start(work)

    def _rest(
        self, run: Run, model: MLModel, request: InferenceRequest
    ) -> AsyncGenerator[InferenceResponse, None]:
        """What a model says behind what a run has said."""
        said, first, version = records_of(run.log), run.log.first, run.head.version
        return rest_of(self._data_plane, model, request, version, said, first)

    async def _say_all(
        self,
        run: Run,
        call: Call,
        stream: AsyncGenerator[InferenceResponse, None],
        model: MLModel,
        request: InferenceRequest,
    ) -> None:
        """Take down what the model answers, whichever of its workers are lost meanwhile.

        Raises:
            WorkerLostError: one after the other was lost, and none said more.
        """
        last, left = -1, WORKERS_LOST
        while True:
            try:
                return await self._say(run, call, stream)
            except WorkerLostError:
                # A request that kills whoever answers it is not to do so for ever.
                left = WORKERS_LOST if run.log.last > last else left - 1
                if not left:
                    raise
            last = run.log.last
            call.last = math.inf  # nobody is there to be silent
            await self._until_ready(run.head)
            call.touch()
            stream = self._rest(run, model, request)

    async def _until_ready(self, head: Head) -> None:
        """Wait until there is a worker again; not for ever, and then what is asked says so."""
        with suppress(TimeoutError):
            async with asyncio.timeout(WORKER_SECONDS):
                while not await self._data_plane.model_ready(  # noqa: ASYNC110
                    head.model, head.version
                ):
                    await asyncio.sleep(LOOK_SECONDS)

    async def _say(
        self, run: Run, call: Call, stream: AsyncGenerator[InferenceResponse, None]
    ) -> None:
        """Take down what the model answers."""
        async with aclosing(stream) as responses:
            async for response in responses:
                if not run.log.last:
                    _say_how_long(response, self.seconds)
                elif run.began_elsewhere:
                    _leave_headers_out(response)
                goes_on = run.say_text(response)
                if goes_on is None:
                    goes_on = run.say(response, await set_apart(response))
                if not goes_on:
                    # It is not the model that is silent.
                    call.last = math.inf
                    await run.room()
                call.touch()

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
            await self.sharing.known(run)

    def hand_over(self) -> None:
        """The service stops: what other instances can go on with is theirs."""
        if self.sharing is not None:
            self.sharing.hand_over()

    async def close(self) -> None:
        """The service has stopped."""
        if self.sharing is not None:
            await self.sharing.close()

    def admit(self, owner: str) -> None:
        """Make room for one more of a caller's.

        Raises:
            OverLimitError
        """
        own = self._owned.get(owner)
        if own is None or len(own) < self._settings.streams:
            return
        for run in own.values():
            if run.ended and not run.readers:
                self._throw_away(run)
                return
        raise OverLimitError(
            f"You have as many resumable streams as may be, {self._settings.streams}; "
            "cancel one (DELETE /v2/streams/<id>), or try again when one has ended."
        )

    # What runs share.

    def count(self, bytes: int) -> None:
        self.bytes += bytes
        # Hundreds may wait: not in vain, each time that one of them holds a little less.
        if bytes < 0 and self._waiting and self.bytes <= self._settings.bytes_in_all:
            for room in self._waiting:
                if not room.done():
                    room.set_result(None)

    def has_room(self) -> bool:
        while self.bytes > self._settings.bytes_in_all:
            found = (run for run in self._ended.values() if not run.readers)
            oldest = next(found, None)
            if oldest is None:
                return False
            self._throw_away(oldest)
        return True

    def has_ended(self, run: Run) -> None:
        if not run.is_forgotten:
            self._ended[run.head.id] = run

    def wait(self, room: asyncio.Future[None]) -> None:
        self._waiting.add(room)
        room.add_done_callback(self._waiting.discard)  # set, or nobody waits any more

    def forget(self, run: Run) -> None:
        head = run.head
        if isinstance(run.error, UnreadError):
            self.figures.dropped[UNREAD].inc()
        self._runs.pop(head.id, None)
        self._ended.pop(head.id, None)
        if own := self._owned.get(head.owner):
            own.pop(head.id, None)
            if not own:
                del self._owned[head.owner]

    def delete(self, run: Run) -> asyncio.Task[None] | None:
        return None if self.sharing is None else self.sharing.delete(run)

    def _throw_away(self, run: Run) -> None:
        self.figures.dropped[ROOM].inc()
        run.forget()


def _leave_headers_out(response: InferenceResponse) -> None:
    """What the data plane says with the first response, a stream that goes on has said already."""
    said = said_by(response.parameters)
    if said is not None and said.pop("headers", None) is not None:
        response.parameters = Parameters(**said) if said else None


def _say_how_long(response: InferenceResponse, seconds: float) -> None:
    """Have a stream's first response say how long its reader may be away."""
    said: dict[str, Any] = {**(said_by(response.parameters) or {}), RESUME_SECONDS: seconds}
    response.parameters = Parameters(**said)
