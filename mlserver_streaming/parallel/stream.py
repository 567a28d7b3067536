"""One stream, as the service sees it: on one worker, or on those where its sequences live."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Any, Protocol

from mlserver.types import InferenceRequest, InferenceResponse, Parameters

from ..errors import MLServerError, OverLimitError
from ..streams.finals import WANTED
from . import messages as say
from .link import Link
from .payloads import Packed, pack_request, pack_response, unpack_response
from .sequence_table import Flags, SequenceTable, flags_of

_OVER: Any = object()


class Workers(Protocol):
    """What a model and its streams ask of the pool.

    Attributes:
        sequences: where each sequence lives.
        told_at_once: a worker is told of so many of a stream's responses at once that they were
            taken.
    """

    sequences: SequenceTable
    told_at_once: int

    def has_worker(self, key: say.ModelKey) -> bool:
        """Whether a worker is there to answer for a model."""

    def place(self, key: say.ModelKey, flags: Flags | None, home: Link | None = None) -> Link:
        """The worker for a request: where its sequence lives, else its stream's, else the least
        busy of those that answer.

        Args:
            home: the worker that the request's stream is on already.

        Raises:
            NoWorkerError: there is none, or none that takes more.
            OverLimitError: it would begin one sequence too many.
        """


class Lane:
    """A stream's part on one worker."""

    __slots__ = ("_stream", "_untold", "is_open", "link", "number", "wants")

    def __init__(self, stream: "Stream", link: Link, first: InferenceRequest | None, is_over: bool):
        self._stream = stream
        self._untold = 0
        self.link = link
        self.is_open = True
        self.wants = False
        packed = None if first is None else pack_request(first)
        said = stream.said
        self.number = link.begin(self, say.OPEN, *stream.key, packed, is_over, WANTED.get(), said)

    def give(self, request: InferenceRequest) -> None:
        """The request that the model wants."""
        self.wants = False
        self.link.say(say.REQUEST, self.number, pack_request(request))

    def took(self, at_once: int) -> None:
        """One of its responses was taken; the worker is told of so many at once."""
        self._untold += 1
        if self._untold >= at_once:
            self.link.took(self.number, self._untold)
            self._untold = 0

    def end(self) -> None:
        """There are no more requests."""
        self.link.say(say.END, self.number)

    def cancel(self) -> None:
        if self.is_open:
            self.is_open = False
            self.link.say(say.CANCEL, self.number)

    # What the worker says.

    def want(self) -> None:
        self.wants = True
        self._stream.wanted()

    def response(self, packed: Packed) -> None:
        self._stream.came(self, packed)

    def last(self, packed: Packed) -> None:
        self.is_open = False
        self._stream.came(self, packed)

    def done(self, result: Any) -> None:
        self.is_open = False
        self._stream.wake()

    def failed(self, error: MLServerError) -> None:
        self.is_open = False
        self._stream.fail(error)


class Stream:
    """Gives requests to workers as their models ask for them, and their responses as they come."""

    def __init__(
        self,
        pool: Workers,
        key: say.ModelKey,
        payloads: AsyncIterator[InferenceRequest],
        said: Sequence[InferenceResponse] | None = None,
    ):
        """
        Args:
            said: the responses that it goes on behind; None for a stream that begins.
        """
        self.key = key
        self.said = None if said is None else [pack_response(each)[0] for each in said]
        self._pool = pool
        self._payloads = payloads
        self._lanes: dict[Link, Lane] = {}
        self._home: Link | None = None
        self._ready: deque[tuple[Lane | None, Any]] = deque()
        self._no_more = False
        self._error: Exception | None = None
        self._waiting: asyncio.Future[None] | None = None
        self._reading: asyncio.Task[None] | None = None
        self._moved: asyncio.Future[None] | None = None

    async def responses(self) -> AsyncGenerator[InferenceResponse, None]:
        """
        Raises:
            MLServerError: the model's, or what became of its worker.
        """
        ready, told_at_once = self._ready, self._pool.told_at_once
        first: InferenceRequest = await anext(self._payloads, _OVER)
        try:
            if first is _OVER:
                self._no_more = True
                self._open(self._pool.place(self.key, None), None)
            else:
                self._place(first)
            while True:
                while ready:
                    lane, found = ready.popleft()
                    if lane is None:
                        yield found
                    else:
                        lane.took(told_at_once)
                        yield unpack_response(found)
                if self._error is not None:
                    raise self._error
                if self._is_over():
                    return
                self.wanted()
                self._waiting = asyncio.get_running_loop().create_future()
                await self._waiting
        finally:
            for lane in self._lanes.values():
                lane.cancel()
            if self._reading is not None:
                self._reading.cancel()
                await asyncio.gather(self._reading, return_exceptions=True)

    # What its lanes say.

    def wanted(self) -> None:
        """A model may ask for a request."""
        if self._moved is not None and not self._moved.done():
            self._moved.set_result(None)
        if self._reading is None and not self._no_more and self._is_wanted():
            self._reading = asyncio.create_task(self._read())

    def came(self, lane: Lane | None, found: Any) -> None:
        """A response came."""
        self._ready.append((lane, found))
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    def wake(self) -> None:
        """Something has changed."""
        for waiting in (self._waiting, self._moved):
            if waiting is not None and not waiting.done():
                waiting.set_result(None)

    def fail(self, error: Exception) -> None:
        """The stream is over, with this error behind the responses that came before it."""
        self._error = self._error or error
        self.wake()

    def _is_wanted(self) -> bool:
        return not self._lanes or any(lane.wants and lane.is_open for lane in self._lanes.values())

    def _is_over(self) -> bool:
        if any(lane.is_open for lane in self._lanes.values()):
            return False
        return bool(self._lanes) or (self._no_more and self._reading is None)

    async def _read(self) -> None:
        """Read requests for as long as a model wants one."""
        try:
            while self._error is None and self._is_wanted():
                request = await anext(self._payloads, _OVER)
                if request is _OVER:
                    self._no_more = True
                    for lane in self._lanes.values():
                        lane.end()
                    break
                await self._give(request)
        except Exception as error:
            self.fail(error)
        finally:
            self._reading = None
            self.wake()

    async def _give(self, request: InferenceRequest) -> None:
        """Give a request to its lane, once that wants one."""
        while (lane := self._place(request)) is not None:
            while lane.is_open and not lane.wants:
                self._moved = asyncio.get_running_loop().create_future()
                await self._moved
            if lane.is_open:
                lane.give(request)
                return
            if self._error is not None or self._is_over():
                return

    def _place(self, request: InferenceRequest) -> Lane | None:
        """The open lane that a request is for; None where none was, and one was begun with it.

        A request that would begin one sequence too many is answered here.
        """
        try:
            link = self._pool.place(self.key, flags_of(request), self._home)
        except OverLimitError as error:
            self.came(None, self._refusal(request, error))
            return None
        lane = self._lanes.get(link)
        if lane is not None and lane.is_open:
            return lane
        self._open(link, request)
        return None

    def _open(self, link: Link, first: InferenceRequest | None) -> None:
        self._home = self._home or link
        self._no_more = self._no_more or bool(getattr(self._payloads, "is_over", False))
        self._lanes[link] = Lane(self, link, first, self._no_more)

    def _refusal(self, request: InferenceRequest, error: MLServerError) -> InferenceResponse:
        name, version = self.key
        return InferenceResponse(
            model_name=name,
            model_version=version,
            id=request.id,
            parameters=Parameters(error=str(error), error_code=error.status_code),  # type: ignore[call-arg]
            outputs=[],
        )
