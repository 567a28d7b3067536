"""Server-sent events that have ids, so that who is cut off can come back for the rest.

https://html.spec.whatwg.org/multipage/server-sent-events.html#the-last-event-id-header
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from typing import Any

from mlserver.types import InferenceResponse
from orjson import dumps

from ..errors import MLServerError, MovedError
from ..recordings.texts import Like, Texts
from ..resume.reader import Reader
from .events import READY_BYTES, EventStreamResponse

# Names the stream on each of its responses.
STREAM_ID = "x-stream-id"
# A text that is written with what stands around it known; longer ones are rare, and bounded.
SHORT_CHARACTERS = 2048
# What JSON makes of one character at most, as of a control character.
ESCAPED_BYTES = 6
# Stands for a text, to find what is written around it.
MARK = "\ue000the text\ue001"
# Where a stream goes on at another instance: how long to wait before asking for the rest of it.
RETRY = b"retry: 1000\n"
COME_BACK = b": this stream goes on elsewhere, come back\n%b\n" % RETRY


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
        self._unnumbered, self._encode = self._encode, self._numbered
        self._reader = reader
        self._stream_id = stream.encode()
        self._number = reader.heard
        # What stands around the text in each event, and of which texts.
        self._around: tuple[bytes, bytes] | None = None
        self._like: Like | None = None
        self._id: str | None = None
        # Of a stream that is read on, no response is the whole answer.
        self._came_back = reader.heard > 0

    def _numbered(self, response: InferenceResponse) -> bytes | None:
        event = self._unnumbered(response)
        if event is None:
            return None
        self._number += 1
        numbered = b"id: %b.%d\n%b" % (self._stream_id, self._number, event)
        self._frame_bytes = len(numbered) - len(event) + len(self._before) + len(self._after)
        return numbered

    async def _add_all(self, responses: AsyncIterator[InferenceResponse]) -> None:
        # Who reads a run need not ask for each response.
        reader = self._reader
        reader.heard = self._number
        async with aclosing(reader.batches()) as batches:
            async for batch in batches:
                if not (isinstance(batch, Texts) and self._add_texts(batch)):
                    async with aclosing(_each(batch)) as some:
                        await super()._add_all(some)
                elif self._ready_bytes >= READY_BYTES:
                    await self._flush()
                elif not self._waited:
                    await asyncio.sleep(0)
                self._waited = False

    def _add_texts(self, texts: Texts) -> bool:
        """Have the events of texts written, unless one needs more to be written than its text."""
        if texts.said or texts.ids is not None or max(map(len, texts.texts)) > SHORT_CHARACTERS:
            return False
        if texts.like != self._like or texts.id != self._id:
            self._like, self._id = texts.like, texts.id
            self._around = around(self._unnumbered, texts, self._bound.bytes)
        if self._around is None:
            return False
        before, after = self._around
        lead, number = b"id: %b." % self._stream_id, self._number
        middle = b"\n" + before
        try:
            events = [
                b"%b%d%b%b%b" % (lead, number, middle, dumps(text), after)
                for number, text in enumerate(texts.texts, number + 1)
            ]
        except TypeError:  # a text that JSON does not hold
            return False
        self._number += len(events)
        self._ready += events
        self._ready_bytes += sum(map(len, events))
        return True

    def _lead(self) -> bytes:
        self._number += 1
        return b"id: %b.%d\ndata: " % (self._stream_id, self._number)

    def _failure(self, response: InferenceResponse) -> MLServerError | None:
        return None if self._came_back else super()._failure(response)

    def _error_event(self, error: MLServerError) -> bytes:
        return COME_BACK if isinstance(error, MovedError) else super()._error_event(error)


async def _each(responses: Sequence[InferenceResponse]) -> AsyncGenerator[InferenceResponse, None]:
    for response in responses:
        yield response


def around(
    encode: Callable[[InferenceResponse], bytes | None], texts: Texts, most: int
) -> tuple[bytes, bytes] | None:
    """What stands before and after the text in such responses as they are encoded; None if that
    cannot be told, or one may be larger than `most` bytes."""
    encoded = encode(texts.like.response(MARK, texts.id))
    if encoded is None or len(encoded) + ESCAPED_BYTES * SHORT_CHARACTERS > most:
        return None
    parts = encoded.split(dumps(MARK))
    return (parts[0], parts[1]) if len(parts) == 2 else None
