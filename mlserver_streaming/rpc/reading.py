"""The requests of one stream to a model, as the model reads them."""

from __future__ import annotations

import asyncio

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream
from mlserver.types import InferenceRequest


class Reading:
    """An async iterator of requests that remembers the id of the last."""

    def __init__(self, requests: MemoryObjectReceiveStream[InferenceRequest], read: asyncio.Event):
        """
        Args:
            read: set at each request that is read.
        """
        self.last_id: str | None = None
        self._requests = requests
        self._read = read

    def __aiter__(self) -> Reading:
        return self

    async def __anext__(self) -> InferenceRequest:
        try:
            request = await anext(self._requests)
        except anyio.ClosedResourceError:  # the wire is gone, who answers goes on without it
            raise StopAsyncIteration from None
        self.last_id = request.id or ""
        self._read.set()
        return request

    def has_more(self) -> bool:
        """Whether requests wait behind one that was read."""
        waiting = self._requests.statistics()
        return self.last_id is not None and bool(
            waiting.current_buffer_used or waiting.tasks_waiting_send
        )

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
                found.append(self._requests.receive_nowait().id or "")
            except (anyio.WouldBlock, anyio.EndOfStream):
                return found
