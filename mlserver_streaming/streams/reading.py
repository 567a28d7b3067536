"""The requests of one stream to a model, as the model reads them."""

from __future__ import annotations

import asyncio

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream
from mlserver.types import InferenceRequest

from ..errors import UnreadRequestsError


class Reading:
    """An async iterator of requests that remembers the id of the last.

    Attributes:
        last_id: the id of the request that was read last; None before the first.
        count: requests that were taken, by this model's streams one after another.
        met: those that its running stream has read.
    """

    def __init__(self, requests: MemoryObjectReceiveStream[InferenceRequest], read: asyncio.Event):
        """
        Args:
            read: set at each request that is read.
        """
        self.last_id: str | None = None
        self.count = self.met = 0
        self._requests = requests
        self._read = read
        self._skipped: set[int] = set()

    def __aiter__(self) -> Reading:
        return self

    async def __anext__(self) -> InferenceRequest:
        """
        Raises:
            UnreadRequestsError: the wire is gone, and requests of it that have come.
        """
        try:
            request = await self._next()
            self.count += 1
            while self._skipped and self.count in self._skipped:
                self._skipped.remove(self.count)
                self._read.set()
                request = await self._next()
                self.count += 1
        except anyio.ClosedResourceError:  # the wire is gone, who answers goes on without it
            if self._has_left_some:
                raise UnreadRequestsError() from None
            raise StopAsyncIteration from None
        self.met += 1
        self.last_id = request.id or ""
        self._read.set()
        return request

    async def _next(self) -> InferenceRequest:
        try:
            # What is there is taken at once: `anext` lets the loop go round first.
            return self._requests.receive_nowait()
        except (anyio.WouldBlock, anyio.EndOfStream):
            return await anext(self._requests)

    def skip(self, number: int) -> None:
        """Have a request left out that waits: the so manieth of all, from 1."""
        self._skipped.add(number)

    def begin_again(self) -> None:
        """Another stream of the model reads what comes from here on."""
        self.last_id, self.met = None, 0

    def has_more(self) -> bool:
        """Whether requests wait behind one that was read."""
        waiting = self._requests.statistics()
        return self.last_id is not None and bool(
            waiting.current_buffer_used or waiting.tasks_waiting_send
        )

    @property
    def _has_left_some(self) -> bool:
        waiting = range(1, self._requests.statistics().current_buffer_used + 1)
        return any(self.count + number not in self._skipped for number in waiting)

    @property
    def has_ended(self) -> bool:
        """Whether nothing waits, and nothing more comes."""
        waiting = self._requests.statistics()
        return not (waiting.open_send_streams or waiting.current_buffer_used)

    def unanswered(self) -> list[str]:
        """The ids of the request read last and of those that wait, which are taken out."""
        found = [] if self.last_id is None else [self.last_id]
        while True:
            try:
                request = self._requests.receive_nowait()
            except (anyio.WouldBlock, anyio.EndOfStream):
                return found
            self.count += 1
            if self.count not in self._skipped:
                found.append(request.id or "")
