"""Which worker a sequence lives on: all its requests go there. Pure.

A model that tells which sequences it holds (its `sequences`) decides when one is over, and that is
reported here; a START beyond the model's limit is refused here, since no worker sees them all. For
other models a sequence is only a reason to stay on a worker: it is entered at first sight, and
given up at END, when it is idle, or for a newer one.
"""

from collections import OrderedDict
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field

from mlserver.types import InferenceRequest

from ..errors import OverLimitError
from .messages import ModelKey

SequenceId = int | str


@dataclass(frozen=True, slots=True)
class Flags:
    """What a request says of its sequence."""

    id: SequenceId
    start: bool
    end: bool


@dataclass(slots=True)
class _Sequences:
    """One model's: each with its worker and when it was last heard of, the latest at the end."""

    limit: int
    idle_seconds: float
    reported: bool
    live: OrderedDict[SequenceId, tuple[Hashable, float]] = field(default_factory=OrderedDict)


class SequenceTable:
    """The sequences of all models."""

    def __init__(self) -> None:
        self._models: dict[ModelKey, _Sequences] = {}

    def add_model(self, model: ModelKey, limit: int, idle_seconds: float, reported: bool) -> None:
        """A model is loaded, or loaded again: then its sequences are new ones.

        Args:
            limit: how many may live at once, on all workers together.
            idle_seconds: silence after which one is forgotten, unless the model reports that.
            reported: whether the workers report which sequences are gone.
        """
        self._models[model] = _Sequences(limit, idle_seconds, reported)

    def remove_model(self, model: ModelKey) -> None:
        self._models.pop(model, None)

    def count(self, model: ModelKey) -> int:
        """How many sequences of a model live."""
        found = self._models.get(model)
        return len(found.live) if found else 0

    def worker_of(self, model: ModelKey, flags: Flags, now: float) -> Hashable | None:
        """The worker that a request's sequence lives on; None where it lives on none."""
        if (sequences := self._models.get(model)) is None:
            return None
        if not sequences.reported:
            _expire(sequences, now)
        if (found := sequences.live.get(flags.id)) is None:
            return None
        worker = found[0]
        if flags.end and not sequences.reported:
            del sequences.live[flags.id]
        else:
            sequences.live[flags.id] = worker, now
            sequences.live.move_to_end(flags.id)
        return worker

    def enter(self, model: ModelKey, flags: Flags, worker: Hashable, now: float) -> None:
        """A request of a sequence that lives nowhere goes to this worker.

        Raises:
            OverLimitError: it would begin one more than may live.
        """
        sequences = self._models.get(model)
        if sequences is None or flags.end:
            return
        if sequences.reported:
            if not flags.start:
                return  # the model will say that START is needed
            if len(sequences.live) >= sequences.limit:
                raise OverLimitError(
                    f"Model '{model[0]}' has {sequences.limit} live sequences, as many as it "
                    "takes; end one, or try again later."
                )
        elif len(sequences.live) >= sequences.limit:
            sequences.live.popitem(last=False)
        sequences.live[flags.id] = worker, now

    def gone(self, model: ModelKey, ids: Iterable[SequenceId], worker: Hashable) -> None:
        """A worker reports that its model holds these no longer."""
        live = self._models[model].live if model in self._models else {}
        for id in ids:
            if id in live and live[id][0] is worker:
                del live[id]

    def lost(self, worker: Hashable) -> None:
        """A worker is gone, and what lived on it."""
        for sequences in self._models.values():
            for id in [id for id, (on, _) in sequences.live.items() if on is worker]:
                del sequences.live[id]


def _expire(sequences: _Sequences, now: float) -> None:
    live = sequences.live
    while live and next(iter(live.values()))[1] + sequences.idle_seconds <= now:
        live.popitem(last=False)


def flags_of(request: InferenceRequest) -> Flags | None:
    """What a request says of its sequence; None where it belongs to none.

    What is no id or no flag is the model's to refuse.
    """
    parameters = request.parameters
    extra = parameters.model_extra if parameters is not None else None
    if not extra or not (id := extra.get("sequence_id")):
        return None
    if isinstance(id, bool) or not isinstance(id, int | str):
        return None
    return Flags(id, bool(extra.get("sequence_start")), bool(extra.get("sequence_end")))
