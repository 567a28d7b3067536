"""Lines of JSON that say where in their stream they are, so that who is cut off can come back."""

from typing import Any

from mlserver.types import InferenceResponse

from ..errors import MLServerError
from ..resume.reader import Reader
from .events import EventStreamResponse
from .resumable_events import STREAM_ID


class ResumableLines(EventStreamResponse):
    """What a reader of a run has yet to hear; each response has its place as `resume_id`."""

    def __init__(self, reader: Reader, stream: str, **how: Any):
        """
        Args:
            stream: its id.
            how: as EventStreamResponse has it.
        """
        super().__init__(reader.with_ids(), **how)
        self.raw_headers.append((STREAM_ID.encode(), stream.encode()))
        # Of a stream that is read on, no response is the whole answer.
        self._came_back = reader.heard > 0

    def _failure(self, response: InferenceResponse) -> MLServerError | None:
        return None if self._came_back else super()._failure(response)
