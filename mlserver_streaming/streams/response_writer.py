"""What a connection's streams answer, on its way to the wire.

The one question that they have in common is answered here: whether a failure is all that a client
ever hears, and so the status of its call, or an answer among others.
"""

import asyncio
from collections.abc import AsyncIterator
from time import monotonic
from typing import Any

from mlserver import MLModel
from mlserver.types import InferenceResponse

from ..errors import TooLargeError, failure_of
from ..watch.statistics import Served
from .failures import failure_answer
from .own_stream import OwnStream
from .recent_requests import RecentRequests
from .wire import Outbox, Wire

# When the first answer of a stream is a failure: how long to wait for the client to say whether
# it has more to ask. A client that has not is told by the stream's status.
SOLE_REQUEST_SECONDS = 0.25


class ResponseWriter:
    """The writing side of one connection.

    Attributes:
        requests: how many messages have come, well-formed or not.
        has_ended: whether no more come.
        wrote: whether anything was written.
    """

    def __init__(self, wire: Wire, lasting: bool, recent: RecentRequests | None):
        """
        Args:
            lasting: each failure is an answer.
            recent: those of the requests that can be cancelled, and how each is to be answered.
        """
        self.requests = 0
        self.has_ended = self.wrote = False
        self._wire = wire
        self._lasting = lasting
        self._recent = recent
        self._more_or_end = asyncio.Event()

    def count(self) -> None:
        """Another message has come."""
        self.requests += 1
        if self.requests > 1:
            self._more_or_end.set()

    def end(self) -> None:
        """No more come."""
        self.has_ended = True
        self._more_or_end.set()

    async def is_sole(self) -> bool:
        """Whether the stream's first request is its only one."""
        if self._lasting:
            return False
        try:
            async with asyncio.timeout(SOLE_REQUEST_SECONDS):
                await self._more_or_end.wait()
        except TimeoutError:
            return False
        return self.has_ended and self.requests == 1

    async def gather(
        self,
        responses: AsyncIterator[InferenceResponse],
        outbox: Outbox,
        form: Any,
        model: MLModel | None,
        own: OwnStream | None,
        served: Served | None = None,
    ) -> None:
        """Have all responses written, of a stream from its beginning to its end.

        Args:
            form: how they are to be answered, unless their request says so.
            own: the stream, where it is one request's own.
            served: the model's figures; they know whether its streams are brief.

        Raises:
            MLServerError: a failure that is the only answer.
        """
        held: InferenceResponse | None = None
        recent = self._recent if own is None else None
        has_brief, since, count = served is not None and served.is_brief, 0.0, 0
        try:
            async for response in responses:
                if recent is not None and (asked := recent.of(response.id)):
                    if asked.is_cancelled:
                        continue
                    form = asked.form
                if held is not None:
                    outbox.put(self._wire.encode(held, form, model))  # a failure has no outputs
                    held = None
                elif not self.wrote and failure_of(response) and await self.is_sole():
                    held = response
                    continue
                wrote, self.wrote = self.wrote, True
                try:
                    message = self._wire.encode(response, form, model)
                    if message is None:
                        message = await self._wire.encode_large(response, form, model)
                except TooLargeError as error:
                    if model is not None:
                        self._wire.failed(model)
                    failure = failure_answer(response.model_name, response.id or "", error)
                    if not wrote and await self.is_sole():
                        held = failure
                        continue
                    message = self._wire.encode(failure, form, model)
                count += 1
                is_due = outbox.put(message)
                if has_brief and count == 1:
                    if (pausing := outbox.pause()) is not None:
                        await pausing
                elif is_due or (has_brief and count == 2):
                    await outbox.flush()
                if count == 1:
                    since = monotonic()
        except Exception:
            await outbox.flush()
            raise
        if served is not None:
            served.learn(count != 1, since)
        if own is not None:
            own.end()
            if (final := self._wire.final(own.id)) is not None:
                outbox.put(final)
        await outbox.flush()
        if held is not None and (sole := failure_of(held)):
            raise sole

    async def write(
        self, response: InferenceResponse, form: Any, model: MLModel | None, own: bool = False
    ) -> None:
        """Write a failure, and after one of a stream of its own that nothing follows."""
        self.wrote = True
        outbox = self._wire.outbox(model)
        outbox.put(self._wire.encode(response, form, model))
        if own and (final := self._wire.final(response.id or "")) is not None:
            outbox.put(final)
        await outbox.flush()
