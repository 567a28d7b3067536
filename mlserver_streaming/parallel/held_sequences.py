"""Which of the sequences that began on a worker its models still hold; the others are reported."""

from collections.abc import Container, Iterator
from typing import Any

from .messages import ModelKey
from .sequence_table import Flags, SequenceId


class HeldSequences:
    """Looks into the `sequences` of models that have such."""

    def __init__(self) -> None:
        # For each sequence whether the model has been seen to hold it.
        self._models: dict[ModelKey, tuple[Container[Any], dict[SequenceId, bool]]] = {}
        self._recent: set[tuple[ModelKey, SequenceId]] = set()

    def __len__(self) -> int:
        """How many are looked at."""
        return sum(len(held) for _, held in self._models.values())

    def note(self, key: ModelKey, sequences: Container[Any], flags: Flags) -> None:
        """A request of a sequence goes to a model that holds its sequences in this container."""
        known = self._models.get(key)
        if known is None or known[0] is not sequences:
            known = self._models[key] = sequences, {}
        if flags.start and not flags.end:
            known[1].setdefault(flags.id, False)
        if flags.id in known[1]:
            self._recent.add((key, flags.id))

    def refused(self, key: ModelKey, id: SequenceId) -> list[SequenceId]:
        """A sequence's first request was answered: it is gone unless the model holds it now."""
        sequences, held = self._models.get(key, ((), {}))
        if id in held and id not in sequences:
            del held[id]
            return [id]
        return []

    def gone(self, all_of_them: bool = False) -> Iterator[tuple[ModelKey, list[SequenceId]]]:
        """Those that are held no longer, each told once.

        Args:
            all_of_them: look at every one, not only at those that lately had a request.
        """
        if all_of_them:
            for key, (_, held) in self._models.items():
                self._recent.update((key, id) for id in held)
        left: dict[ModelKey, list[SequenceId]] = {}
        for key, id in self._recent:
            sequences, held = self._models[key]
            if id in sequences:
                held[id] = True
            elif held.get(id):
                del held[id]
                left.setdefault(key, []).append(id)
        if all_of_them:
            self._recent.clear()
        yield from left.items()
