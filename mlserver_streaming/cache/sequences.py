"""Sequences whose requests are independent: which of them may be answered without the model.

The model keeps its table of sequences all the same: it refuses a request of one that was never
started, and gives one up that is silent. So it gets to see each START and END, and now and then a
request between them; the others may be answered for it.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from mlserver.types import InferenceRequest

from ..recordings.recorded import SEQUENCE_ID

FLAGS = ("sequence_start", "sequence_end")
# Parameters that are no part of the question where requests are independent.
OF_SEQUENCES = frozenset({SEQUENCE_ID, *FLAGS})


class SequencesSeen:
    """The live sequences of one model, as far as this process has seen them."""

    def __init__(
        self, limit: int, fresh_seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """
        Args:
            limit: how many are remembered; one that is not is known to the model alone.
            fresh_seconds: how long the model may hear nothing of a sequence.
        """
        self._limit = limit
        self._fresh_seconds = fresh_seconds
        self._clock = clock
        self._asked: OrderedDict[Any, float] = OrderedDict()
        self._begun = 0
        # Which request, by its number, ended a sequence.
        self._ended: OrderedDict[Any, int] = OrderedDict()

    def begun(self) -> int:
        """The model is about to get a request; its number."""
        self._begun += 1
        return self._begun

    def may_pass_by(self, request: InferenceRequest) -> bool:
        """Whether the model need not see this request of a sequence."""
        asked = self._asked.get(_id(request))
        if is_flagged(request):
            return False
        return asked is not None and self._clock() - asked < self._fresh_seconds

    def asked(self, request: InferenceRequest, number: int) -> None:
        """The model has answered this request, and not with a failure.

        Args:
            number: from `begun`.
        """
        given, sequence = _given(request), _id(request)
        if sequence is None:
            return
        # Answers may overtake one another: one that comes behind its sequence's END, START's too,
        # begins nothing.
        if number < self._ended.get(sequence, 0):
            return
        was_live = self._asked.pop(sequence, None) is not None
        if given.get("sequence_end"):
            self._ended[sequence] = number
            _bound(self._ended, self._limit)
        elif was_live or given.get("sequence_start"):
            self._asked[sequence] = self._clock()
            _bound(self._asked, self._limit)


def _bound(table: OrderedDict[Any, Any], limit: int) -> None:
    if len(table) > limit:
        table.popitem(last=False)


def sequence_of(request: InferenceRequest) -> Any:
    """The id of a request's sequence; None where it belongs to none (id 0 or "" is none)."""
    found = _given(request).get(SEQUENCE_ID)
    return None if found in (None, 0, "") else found


def in_sequence(request: InferenceRequest) -> bool:
    """Whether a request belongs to a sequence."""
    return sequence_of(request) is not None


def is_flagged(request: InferenceRequest) -> bool:
    """Whether a request says that its sequence starts or ends."""
    given = _given(request)
    return any(given.get(flag) for flag in FLAGS)


def _id(request: InferenceRequest) -> int | str | None:
    """The id of a request's sequence; None for what is no id, which is the model's to refuse."""
    found = _given(request).get(SEQUENCE_ID)
    return found if isinstance(found, int | str) else None


def _given(request: InferenceRequest) -> dict[str, Any]:
    return (request.parameters and request.parameters.model_extra) or {}
