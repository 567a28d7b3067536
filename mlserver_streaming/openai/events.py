"""Answers that are written already, sent within their call: whole, or as events."""

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AsyncExitStack
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ..errors import MLServerError
from ..rest.answer import cut_off, send_answer
from ..rest.events import EventStreamResponse
from ..streams.headers import fields_of


class WrittenEventsResponse(EventStreamResponse):
    """Sends events as they are; one item may be several."""

    def __init__(
        self,
        events: AsyncGenerator[bytes, None],
        error: Callable[[MLServerError], bytes],
        **named: Any,
    ):
        """
        Args:
            error: writes the event of a failure amid the stream.
            named: as EventStreamResponse has them.
        """
        responses: Any = events
        super().__init__(responses, **named)
        self._written_error = error

    def _failure(self, item: Any) -> None:
        """A failure is raised, and never an item."""

    def _error_event(self, error: MLServerError) -> bytes:
        return self._written_error(error)

    def _add(self, item: Any) -> bool:
        self._bound.check(len(item))
        self._ready.append(item)
        self._ready_bytes += len(item)
        return True


class WholeResponse(Response):
    """Sends a body; its call goes on until it is sent."""

    def __init__(
        self,
        content: bytes,
        kind: str,
        named: Mapping[str, str],
        call: AsyncExitStack,
        touch: Callable[[], None],
    ):
        """
        Args:
            kind: the media type.
            named: more headers.
            touch: told of each piece that leaves.
        """
        super().__init__()
        self._content, self._kind, self._named = content, kind, named
        self._call, self._touch = call, touch

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with self._call:
                fields = [*fields_of(self._named), (b"content-type", self._kind.encode())]
                await send_answer(scope, receive, send, [self._content], fields, self._touch)
        except MLServerError:
            await cut_off(scope, send)
