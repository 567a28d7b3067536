"""What the speech model asks of an engine: utterances in, words out.

An engine gives the same words for the same samples, whole or as they come, whatever came before.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mlserver_streaming.models.errors import MLServerError

# One utterance, int16 [n], mono, 16 kHz.
Pcm = NDArray[np.int16]


class DecoderDiedError(MLServerError):
    """The process that recognised is gone. Another one starts; the same audio may be sent again."""

    def __init__(self, message: str):
        super().__init__(message, 503)


@dataclass(frozen=True, slots=True)
class Word:
    """A word, from `start` to `end` seconds of its utterance's samples; confidence 0 to 1. None
    where the engine does not know."""

    text: str
    start: float | None = None
    end: float | None = None
    confidence: float | None = None


@dataclass(frozen=True, slots=True)
class Recognition:
    """What was said in an utterance; `confidence` is 0 to 1, None where the engine has none."""

    text: str
    words: tuple[Word, ...] = ()
    confidence: float | None = None


class Running(Protocol):
    """An utterance that is recognised while it is spoken. Close it, also after `finish`."""

    async def feed(self, samples: Pcm, paused: bool = False) -> str:
        """Hear more of it; what was said so far, which more may revise.

        Args:
            paused: the voice has stopped, and unless it goes on this is all that `finish` will be
                asked for.

        Raises:
            DecoderDiedError
        """

    async def finish(self) -> Recognition:
        """All of it was heard.

        Raises:
            DecoderDiedError
        """

    def close(self) -> None:
        """Give back what it holds."""


class Engine(Protocol):
    """A recogniser.

    Attributes:
        batched: utterances of several recordings are better handed over together.
        silence_after: how much of the silence that ends an utterance it hears, in seconds; all of
            it where this is None.
    """

    batched: bool
    silence_after: float | None

    async def load(self) -> None:
        """Get ready.

        Raises:
            ValueError: the settings name something that is not there.
        """

    async def close(self) -> None:
        """End its processes and threads."""

    async def recognise(self, utterances: Sequence[Pcm]) -> list[Recognition]:
        """Each utterance's words, in order; utterances are worked on side by side.

        Raises:
            DecoderDiedError
        """

    def open(self) -> Running | None:
        """Begin an utterance; None while all decoders are taken. A finished utterance's words are
        those that `recognise` gives for all its samples."""


def words_json(words: Sequence[Word], offset: float) -> list[dict[str, Any]]:
    """Words as JSON values, their times moved by `offset` seconds; what is not known is left
    out."""
    found: list[dict[str, Any]] = []
    for word in words:
        known: dict[str, Any] = {"word": word.text}
        if word.start is not None and word.end is not None:
            known["start"] = round(offset + word.start, 3)
            known["end"] = round(offset + word.end, 3)
        if word.confidence is not None:
            known["confidence"] = round(word.confidence, 4)
        found.append(known)
    return found
