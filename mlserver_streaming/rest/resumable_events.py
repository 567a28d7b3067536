"""Server-sent events that have ids, so that who is cut off can come back for the rest.

https://html.spec.whatwg.org/multipage/server-sent-events.html#the-last-event-id-header
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from time import monotonic
from typing import Any

from mlserver.types import InferenceResponse

from ..errors import MLServerError, MovedError
from ..resume.reader import Reader
from .events import READY_BYTES, EventStreamResponse

# Names the stream on each of its responses.
STREAM_ID = "x-stream-id"
# Where a stream goes on at another instance: how long to wait before asking for the rest of it.
COME_BACK = b": this stream goes on elsewhere, come back\nretry: 1000\n\n"


class ResumableEvents(EventStreamResponse):
    """What a reader of a run has yet to hear, each event with its place in the stream."""

    def __init__(self, reader: Reader, stream: str, **how: Any):
        """
        Args:
            stream: its id.
            how: as EventStreamResponse has it.
        """
        super().__init__(reader.responses(), **how)
        self.raw_headers.append((STREAM_ID.encode(), stream.encode()))
        self._reader = reader
        self._stream_id = stream.encode()
        self._number = reader.heard
        # Of a stream that is read on, no response is the whole answer.
        self._came_back = reader.heard > 0

    def _add(self, response: InferenceResponse) -> bool:
        encoded = self._encode(response)
        if encoded is None:
            return False
        if len(encoded) > self._bound.bytes:
            self._bound.check(len(encoded))
        self._number += 1
        event = b"id: %b.%d\ndata: %b\n\n" % (self._stream_id, self._number, encoded)
        self._ready.append(event)
        self._ready_bytes += len(event)
        return True

    async def _add_all(self, responses: AsyncIterator[InferenceResponse]) -> None:
        # Who reads a run need not ask for each response.
        reader = self._reader
        reader.heard = self._number
        turn_due = 0.0
        async with aclosing(reader.batches()) as batches:
            async for batch in batches:
                for response in batch:
                    if not self._add(response):
                        await self._add_large(response)
                    now = monotonic()
                    if self._waited:
                        self._waited = False
                        turn_due = now + self._turn_seconds()
                    if self._ready_bytes >= READY_BYTES:
                        await self._flush()
                    elif now >= turn_due:
                        await asyncio.sleep(0)

    def _lead(self) -> bytes:
        self._number += 1
        return b"id: %b.%d\ndata: " % (self._stream_id, self._number)

    def _failure(self, response: InferenceResponse) -> MLServerError | None:
        return None if self._came_back else super()._failure(response)

    def _error_event(self, error: MLServerError) -> bytes:
        return COME_BACK if isinstance(error, MovedError) else super()._error_event(error)
