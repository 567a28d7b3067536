"""What a speech model is asked, and what is heard: the same over both protocols."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from ..errors import ItemError


@dataclass(frozen=True)
class Heard:
    """One response: what was said in an utterance, so far or finally; or why a request failed.

    `recording` is its place among those of the stream, `end` the second at which the voice ended,
    `latency` seconds from sending the chunk that it answers.
    """

    recording: int
    text: str
    final: bool
    utterance: int
    end: float
    latency: float
    error: ItemError | None = None


class SpeechCalls(Protocol):
    """What both protocols can do."""

    async def infer(self, recordings: Sequence[bytes]) -> list[str]:
        """Whole recordings in one request; their transcripts."""

    def stream(
        self, recordings: Sequence[AsyncIterable[bytes]], sample_rate: int | None = None
    ) -> AsyncGenerator[Heard, None]:
        """Recordings chunk by chunk, all at once; what is heard, as it is heard."""
