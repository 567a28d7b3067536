"""From what a model hears in a recording to the items of a session. Pure.

A recording is what one stream of the model hears: where the model finds where one speaks, all that
is sent, and each utterance is an item; where the client says itself when a turn is over, what comes
up to its commit, and that is one item.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from ...errors import MLServerError
from .events import Event, Writer, new_id
from .stable import StableText

LOST = "The words of this utterance were lost; say it again."


@dataclass(frozen=True, slots=True)
class Heard:
    """An utterance's text, so far or finally.

    Attributes:
        utterance: its number in the recording; None where the model does not say.
        start, end: of the voice, in ms of the session.
    """

    text: str
    final: bool
    utterance: int | None
    start: int
    end: int


class Turn(Protocol):
    """A recording's items under way."""

    def heard(self, heard: Heard) -> list[Event]:
        """The model has heard something."""

    def commit(self) -> list[Event]:
        """The client says that its turn is over."""

    def ended(self, seconds: float) -> list[Event]:
        """The model has said all of a recording that was so long."""

    def failed(self, error: MLServerError) -> list[Event]:
        """The model will say no more of it."""


class WholeTurn:
    """All of a recording is one item."""

    def __init__(self, writer: Writer):
        self._writer = writer
        self._item = new_id("item")
        self._is_committed = False
        self._finals: list[str] = []
        self._stable = StableText()
        # What stands before an utterance's first delta.
        self._gap = ""

    def heard(self, heard: Heard) -> list[Event]:
        if not heard.final:
            return self._delta(self._stable.partial(heard.text))
        found = self._delta(self._stable.final(heard.text))
        if heard.text:
            self._finals.append(heard.text)
            self._gap = " "
        self._stable = StableText()
        return found

    def commit(self) -> list[Event]:
        if self._is_committed:
            return []
        self._is_committed = True
        return self._writer.committed(self._item)

    def ended(self, seconds: float) -> list[Event]:
        text = " ".join(self._finals)
        return [*self.commit(), *self._writer.completed(self._item, text, seconds)]

    def failed(self, error: MLServerError) -> list[Event]:
        return [*self.commit(), *self._writer.failed(self._item, error)]

    def _delta(self, text: str) -> list[Event]:
        if not text:
            return []
        text, self._gap = self._gap + text, ""
        return self._writer.delta(self._item, text)


class UtteranceTurn:
    """Each utterance of a recording is an item."""

    def __init__(self, writer: Writer):
        self._writer = writer
        self._item: str | None = None
        self._utterance: int | None = None
        self._stable = StableText()
        # The client has committed, and no item has come of it yet.
        self._owes = self._is_over = False

    def heard(self, heard: Heard) -> list[Event]:
        found: list[Event] = []
        if self._item is not None and heard.utterance != self._utterance:
            found += self._writer.failed(self._item, MLServerError(LOST, 500))
            self._item = None
        if self._item is None:
            if not heard.text:
                return found
            self._item, self._utterance = new_id("item"), heard.utterance
            self._stable = StableText()
            found += self._writer.started(self._item, heard.start)
        item = self._item
        if not heard.final:
            if delta := self._stable.partial(heard.text):
                found += self._writer.delta(item, delta)
            return found
        if not self._is_over:  # else it is the client who said so
            found += self._writer.stopped(item, heard.end)
        found += self._writer.committed(item)
        if delta := self._stable.final(heard.text):
            found += self._writer.delta(item, delta)
        found += self._writer.completed(item, heard.text, (heard.end - heard.start) / 1000)
        self._item, self._owes = None, False
        return found

    def commit(self) -> list[Event]:
        self._owes = self._is_over = True
        return []

    def ended(self, seconds: float) -> list[Event]:
        if not self._owes:
            return []
        # Nothing was said since the last pause, and still the client waits for an answer.
        item = self._item or new_id("item")
        return [*self._writer.committed(item), *self._writer.completed(item, "", seconds)]

    def failed(self, error: MLServerError) -> list[Event]:
        item, self._item = self._item, None
        if item is None and not self._owes:
            return self._writer.error(error)
        return self._writer.failed(item or new_id("item"), error)
