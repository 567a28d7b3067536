"""Events that are written already, sent as EventStreamResponse sends responses."""

from collections.abc import AsyncGenerator, Callable
from typing import Any

from ..errors import MLServerError
from .events import EventStreamResponse


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
        self._encode, self._frame_bytes = _as_it_is, 0

    def _failure(self, item: Any) -> None:
        """A failure is raised, and never an item."""

    def _error_event(self, error: MLServerError) -> bytes:
        return self._written_error(error)


def _as_it_is(item: bytes) -> bytes:
    return item
