"""The events that a session sends, as OpenAI has them. Pure.

https://platform.openai.com/docs/api-reference/realtime-server-events; the flat ones of before, for
clients that say `OpenAI-Beta: realtime=v1`, are those of openai-python 3.57.0's `beta.realtime`.
"""

from __future__ import annotations

from typing import Any, Protocol
from uuid import uuid4

from ...errors import MLServerError
from ..errors import error_object
from .config import Config, flat_session_object, session_object

Event = dict[str, Any]


def new_id(kind: str) -> str:
    return f"{kind}_{uuid4().hex[:24]}"


class Writer(Protocol):
    """A dialect: what happens in a session as the events that tell of it; none where it has none.

    An item is what was said between two pauses, or up to a commit; each has an id.
    """

    def updated(self, config: Config) -> list[Event]:
        """The session is set to something else."""

    def started(self, item: str, at_ms: int) -> list[Event]:
        """Somebody speaks, since then."""

    def stopped(self, item: str, at_ms: int) -> list[Event]:
        """Nobody does any more."""

    def committed(self, item: str) -> list[Event]:
        """An item's sound is all there."""

    def delta(self, item: str, text: str) -> list[Event]:
        """More of an item's text."""

    def completed(self, item: str, text: str, seconds: float) -> list[Event]:
        """All of it, of so much sound."""

    def failed(self, item: str, error: MLServerError) -> list[Event]:
        """There is no text of an item."""

    def cleared(self) -> list[Event]:
        """The sound that was not committed is forgotten."""

    def error(self, error: MLServerError, culprit: str | None = None) -> list[Event]:
        """Something else is wrong.

        Args:
            culprit: the client's own id of its event that was.
        """


class OpenAIWriter:
    """OpenAI's own dialect.

    Attributes:
        flat: whether sessions and items are told of as before.
    """

    def __init__(self, flat: bool):
        self.flat = flat
        self._session = new_id("sess")
        self._last_item: str | None = None

    def created(self, config: Config, at: float) -> list[Event]:
        """The first event of all.

        Args:
            at: the time of day.
        """
        # Nobody has said yet which dialect it is: `id` and `created` are for vLLM's clients.
        return self._session_event("created", config, id=self._session, created=int(at))

    def updated(self, config: Config) -> list[Event]:
        return self._session_event("updated", config)

    def started(self, item: str, at_ms: int) -> list[Event]:
        said = {"item_id": item, "audio_start_ms": at_ms}
        return [_event("input_audio_buffer.speech_started", **said)]

    def stopped(self, item: str, at_ms: int) -> list[Event]:
        said = {"item_id": item, "audio_end_ms": at_ms}
        return [_event("input_audio_buffer.speech_stopped", **said)]

    def committed(self, item: str) -> list[Event]:
        before, self._last_item = {"previous_item_id": self._last_item}, item
        whole = {
            "id": item,
            "object": "realtime.item",
            "type": "message",
            "status": "completed",
            "role": "user",
            "content": [{"type": "input_audio", "transcript": None}],
        }
        told = ("created",) if self.flat else ("added", "done")
        return [
            _event("input_audio_buffer.committed", item_id=item, **before),
            *(_event(f"conversation.item.{each}", item=whole, **before) for each in told),
        ]

    def delta(self, item: str, text: str) -> list[Event]:
        return [_transcription("delta", item, delta=text)]

    def completed(self, item: str, text: str, seconds: float) -> list[Event]:
        usage = {"type": "duration", "seconds": round(seconds, 3)}
        return [_transcription("completed", item, transcript=text, usage=usage)]

    def failed(self, item: str, error: MLServerError) -> list[Event]:
        said = error_object(error.status_code, str(error), error)
        return [_transcription("failed", item, error=said)]

    def cleared(self) -> list[Event]:
        return [_event("input_audio_buffer.cleared")]

    def error(self, error: MLServerError, culprit: str | None = None) -> list[Event]:
        said = error_object(error.status_code, str(error), error)
        return [_event("error", error={**said, "event_id": culprit})]

    def _session_event(self, what: str, config: Config, **beside: Any) -> list[Event]:
        kind, written = ("transcription_session", flat_session_object)
        if not self.flat:
            kind, written = ("session", session_object)
        return [_event(f"{kind}.{what}", session=written(config, self._session), **beside)]


def _event(kind: str, **said: Any) -> Event:
    return {"type": kind, "event_id": new_id("event"), **said}


def _transcription(what: str, item: str, **said: Any) -> Event:
    kind = f"conversation.item.input_audio_transcription.{what}"
    return _event(kind, item_id=item, content_index=0, **said)
