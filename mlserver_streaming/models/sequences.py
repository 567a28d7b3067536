"""The table of a model's live sequences: which request may follow which, and when one is given up.

Pure: no clock, no loop, no I/O. The rules are Triton's, as WIRE.md has them:
https://github.com/triton-inference-server/server, docs/user_guide/architecture.md

    sequence is   the request has       then
    absent        START                 it lives
    absent        START and END         it lived for this one request
    absent        END, or neither       refused: START is missing
    live          neither               it goes on
    live          END                   it is over
    live          START                 refused: it is under way
"""

from collections import OrderedDict
from dataclasses import dataclass
from enum import Enum
from typing import Any

from mlserver.types import InferenceRequest

from .errors import BusyError, ParameterError, RequestError, shown
from .owned_id import sent_id
from .parameters import flag, parameter

SequenceId = int | str
MAX_ID = 2**64 - 1
MAX_ID_CHARACTERS = 128  # Triton's own limit for a sequence's name


class Move(Enum):
    START, CONTINUE, END, WHOLE = range(4)

    @property
    def starts(self) -> bool:
        return self in (Move.START, Move.WHOLE)

    @property
    def ends(self) -> bool:
        return self in (Move.END, Move.WHOLE)


# (live, START, END) -> what the request does; a combination that is not here is refused.
MOVES = {
    (False, True, False): Move.START,
    (False, True, True): Move.WHOLE,
    (True, False, False): Move.CONTINUE,
    (True, False, True): Move.END,
}


@dataclass(slots=True)
class Sequence:
    """A live sequence: its id, what the model keeps for it, and when it was last heard of.

    The id is one sequence's and no other's, so where callers have keys it is more than was sent.
    """

    id: SequenceId
    state: Any = None
    last_seen: float = 0.0

    @property
    def sent_id(self) -> SequenceId:
        """The id as its caller sent it, which others may send too: for people to read."""
        found: SequenceId = sent_id(self.id)
        return found


@dataclass(frozen=True, slots=True)
class Flags:
    """What a request says of its sequence."""

    id: SequenceId
    start: bool
    end: bool


class Sequences:
    """The live sequences of one model, the one that was silent longest first."""

    def __init__(self, model: str, limit: int, idle_seconds: float):
        """
        Args:
            model: the model's name, for the errors.
            limit: how many may live at once.
            idle_seconds: silence after which a sequence is given up.
        """
        self._model = model
        self._limit = limit
        self._idle = idle_seconds
        self._live: OrderedDict[SequenceId, Sequence] = OrderedDict()

    def __len__(self) -> int:
        return len(self._live)

    def __contains__(self, id: object) -> bool:
        return id in self._live

    def admit(self, flags: Flags, now: float) -> tuple[Sequence, Move]:
        """Take a request's sequence one step on. An illegal step raises and changes nothing.

        Raises:
            RequestError: START is missing, or the sequence is under way.
            BusyError: as many sequences as may live do.
        """
        live = self._live.get(flags.id)
        move = MOVES.get((live is not None, flags.start, flags.end))
        if move is None and live is None:
            raise RequestError(
                f"inference request for sequence {sent_id(flags.id)} to model '{self._model}' must "
                "specify the START flag on the first request of the sequence"
            )
        if move is None:
            raise RequestError(
                f"sequence {sent_id(flags.id)} to model '{self._model}' is under way; END it "
                "before it is STARTed again"
            )
        if move is Move.WHOLE:
            return Sequence(flags.id, last_seen=now), move
        if move is Move.START:
            if len(self._live) >= self._limit:
                raise BusyError(
                    f"Model '{self._model}' has {self._limit} live sequences, as many as it "
                    "takes; end one, or try again later."
                )
            live = self._live[flags.id] = Sequence(flags.id)
        assert live is not None
        live.last_seen = now
        if move is Move.END:
            del self._live[flags.id]
        else:
            self._live.move_to_end(flags.id)
        return live, move

    def expire(self, now: float) -> list[Sequence]:
        """Take out the sequences that have been silent for too long."""
        expired = []
        while (due := self.next_expiry()) is not None and due <= now:
            expired.append(self._live.popitem(last=False)[1])
        return expired

    def next_expiry(self) -> float | None:
        """When the next sequence is given up if nothing more comes; None where none lives."""
        if not self._live:
            return None
        return next(iter(self._live.values())).last_seen + self._idle


def sequence_flags(request: InferenceRequest) -> Flags | None:
    """What a request says of its sequence; None where it belongs to none (id 0 or "").

    Raises:
        ParameterError: the id is not a whole number or text, or a flag is not a boolean.
    """
    id = parameter(request, "sequence_id")
    if id is None:
        return None
    found = sent_id(id)
    if isinstance(found, bool) or not isinstance(found, int | str):
        raise ParameterError(
            f"Parameter 'sequence_id' must be a whole number or text, not {shown(found)}."
        )
    too_long = isinstance(found, str) and len(found) > MAX_ID_CHARACTERS
    if too_long or (isinstance(found, int) and not 0 <= found <= MAX_ID):
        raise ParameterError(
            f"Parameter 'sequence_id' must be from 0 to {MAX_ID}, or text of up to "
            f"{MAX_ID_CHARACTERS} characters, not {shown(found)}."
        )
    if not found:
        return None
    return Flags(id, flag(request, "sequence_start"), flag(request, "sequence_end"))
