"""A model's responses as the events of a route, each with its number. Pure.

Told from the first response on, they are the same each time: so whoever comes back gets them from
any number on, and nothing of them needs to be kept but the responses.
"""

from __future__ import annotations

from mlserver.types import InferenceResponse

from ..errors import MLServerError, failure_of
from .answers import Answer
from .kept_ask import KeptAsk
from .pieces import Piece, PieceReader, Usage
from .responses import ResponseAnswer

END = b"\n\n"  # of an event; JSON has no lines


class Telling:
    """
    Attributes:
        count: how many events there were.
        answer: what writes them.
        background: the same, where a failure is one of the events.
    """

    def __init__(self, stream: str, kept: KeptAsk) -> None:
        """
        Args:
            stream: its id.
        """
        self.count = 0
        self.answer: Answer = kept.form.answer(kept.ask)
        self.background: ResponseAnswer | None = None
        if kept.ask.background and isinstance(self.answer, ResponseAnswer):
            self.background = self.answer
        self._stream = stream.encode()
        self._form = kept.form
        self._pieces = PieceReader(kept.output)
        self._begun = False

    @property
    def usage(self) -> Usage | None:
        """What the model said of tokens."""
        return self._pieces.usage

    def begin(self) -> list[bytes]:
        """The first events; those of an answer in the background need no response."""
        if self._begun:
            return []
        self._begun = True
        return self._numbered(self.answer.begin())

    def take(self, response: InferenceResponse) -> list[bytes]:
        """The events of the next response.

        Raises:
            RequestFailedError: it fails the request.
            UnsupportedError: there is no text in it.
        """
        if failure := failure_of(response):
            self._form.name(failure)
            raise failure
        return self._of(self._pieces.read(response))

    def end(self) -> list[bytes]:
        """The events behind the last response."""
        found = [event for piece in self._pieces.rest() for event in self._of(piece)]
        return [*found, *self._numbered(self.answer.end(self.usage))]

    def fail(self, error: MLServerError) -> list[bytes]:
        """The events by which an answer in the background fails."""
        assert self.background is not None
        return [*self.begin(), *self._numbered(self.background.failed(error))]

    def _of(self, piece: Piece) -> list[bytes]:
        return [*self.begin(), *self._numbered(self.answer.event(piece))]

    def _numbered(self, events: bytes) -> list[bytes]:
        found = []
        for event in events.split(END)[:-1]:
            self.count += 1
            found.append(b"id: %b.%d\n%b%b" % (self._stream, self.count, event, END))
        return found
