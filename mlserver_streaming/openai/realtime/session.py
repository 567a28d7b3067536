"""A session: a client's events in, what they change and what is answered at once. No I/O."""

from __future__ import annotations

from typing import Any

from ...errors import BadRequestError, shown
from ..errors import FieldError
from ..fields import Fields
from . import vllm
from .config import ONLY_TRANSCRIPTION, Config, updated
from .events import Event, OpenAIWriter, Writer
from .recording import Recordings
from .sound import Reader
from .turns import Turn, UtteranceTurn, WholeTurn

UPDATE, FLAT_UPDATE = "session.update", "transcription_session.update"
BUFFER = "input_audio_buffer."
APPEND, COMMIT, CLEAR = f"{BUFFER}append", f"{BUFFER}commit", f"{BUFFER}clear"
EVENTS = (UPDATE, FLAT_UPDATE, APPEND, COMMIT, CLEAR)
# Known to OpenAI, for what there is none of here.
OF_CONVERSATIONS = ("response.", "conversation.", "output_audio_buffer.")
MODEL = "session.audio.input.transcription.model"


class EmptyBufferError(BadRequestError):
    code = "input_audio_buffer_commit_empty"

    def __init__(self) -> None:
        super().__init__("There is nothing to commit: no sound was appended since the last time.")


class Session:
    """What a client has set, and the recordings that it fills.

    Attributes:
        config: what it is set to.
        writer: the dialect that it speaks, as far as is known.
        recordings: what was said in it, as far as the model has not heard it.
    """

    def __init__(self, writer: OpenAIWriter, config: Config, recordings: Recordings):
        self.config = config
        self.writer: Writer = writer
        self._openai = writer
        self.recordings = recordings
        self._reader = Reader(config.format)
        self._is_first = True

    def created(self, at: float) -> list[Event]:
        """The first event of all.

        Args:
            at: the time of day.
        """
        return self._openai.created(self.config, at)

    def take(self, event: Fields, sound: bytes = b"") -> list[Event]:
        """What a client's event is answered with at once.

        Args:
            sound: what is appended, where it is sound.

        Raises:
            BadRequestError: the event is wrong; it has changed nothing.
        """
        if self._is_first and vllm.speaks_vllm(event):
            self.writer = vllm.VllmWriter()
        self._is_first = False
        kind = event.all.get("type")
        if kind in (UPDATE, FLAT_UPDATE):
            return self._update(event, kind == FLAT_UPDATE)
        if kind == APPEND:
            self._append(sound)
            return []
        if kind == COMMIT:
            return self._commit(event)
        if kind == CLEAR:
            self.recordings.end(drop=True)
            self._reader = Reader(self.config.format)
            return self.writer.cleared()
        if isinstance(kind, str) and kind.startswith(OF_CONVERSATIONS):
            raise FieldError(f"There is no '{shown(kind)}' here. {ONLY_TRANSCRIPTION}", "type")
        event.wrong("type", f"one of {', '.join(EVENTS)}")

    def _update(self, event: Fields, flat: bool) -> list[Event]:
        if self.writer is not self._openai:
            config = vllm.updated(self.config, event)
        else:
            session = event.object("session") or event.wrong("session", "an object")
            config = updated(self.config, session)
        if config != self.config:
            recording = self.recordings.open
            if recording is not None and recording.config.detection is None:
                raise FieldError(
                    "Commit or clear the sound that was sent before the session is set to "
                    "something else.",
                    "session",
                )
            # What was heard so far was heard as it was set; what comes next is another recording.
            self.recordings.end()
            self.config = config
            self._reader = Reader(config.format)
        self._openai.flat |= flat
        return self.writer.updated(config)

    def _append(self, sound: bytes) -> None:
        if self.config.model is None:
            raise FieldError(
                f"Name a model in a {UPDATE} before any sound, as '{MODEL}', or in the address, as "
                "?model=NAME.",
                MODEL,
            )
        for samples in self._reader.read(sound):
            if self.recordings.open is None:
                self.recordings.begin(self.config, self._turn())
            self.recordings.put(samples)

    def _commit(self, event: Fields) -> list[Event]:
        if self.writer is not self._openai and not event.flag("final"):
            return []  # it begins, and has already
        recording = self.recordings.open
        if recording is None:
            raise EmptyBufferError
        found = recording.turn.commit()
        self.recordings.end()
        self._reader = Reader(self.config.format)
        return found

    def _turn(self) -> Turn:
        kind: Any = WholeTurn if self.config.detection is None else UtteranceTurn
        turn: Turn = kind(self.writer)
        return turn
