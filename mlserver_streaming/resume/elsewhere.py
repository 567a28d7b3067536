"""Runs of other instances, as far as the store knows, and a caller's streams, wherever they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .endings import state_of
from .head import Head
from .run import RUNNING, Run
from .store import Kept

# The state of a stream that no instance runs: whoever reads it has one go on with it, where it can.
INTERRUPTED = "interrupted"


@dataclass(frozen=True, slots=True)
class Said:
    """Which responses there are, and how many bytes they take; 0 where that is not known."""

    first: int
    last: int
    size: int = 0


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """A run that another instance has, as far as the store knows; the names are a run's."""

    head: Head
    log: Said
    state: str
    seconds_left: float | None = None

    @classmethod
    def of(cls, head: Head, kept: Kept) -> Elsewhere:
        running = RUNNING if kept.is_held else INTERRUPTED
        state = running if kept.ending is None else state_of(kept.ending)
        return cls(head, Said(kept.first, kept.last), state)


@dataclass(frozen=True, slots=True)
class Owned:
    """A caller's streams.

    Attributes:
        is_whole: whether these are all: those of other instances are not known while the store does
            not answer.
    """

    streams: Sequence[Run | Elsewhere]
    is_whole: bool = True
