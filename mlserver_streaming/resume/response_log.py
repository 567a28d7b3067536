"""What a stream said, by number: the newest as the model gave them, all others as compact bytes."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from ..recordings.recorded import Recorded
from ..recordings.recording import Chunk, decode, encode

# What Python holds for a response of one small tensor, beside its data (as in cache/flight.py).
RESPONSE_BYTES = 2560
# Responses that are made into bytes at once, while somebody listens and while nobody does: who
# keeps up never reads one back from bytes, and one that nobody reads holds little else.
FOLDED_HEARD, FOLDED_UNHEARD = 64, 16


class Block:
    """Some responses in a row."""

    __slots__ = ("_chunk", "_records", "first", "last", "size")

    def __init__(self, first: int, records: Sequence[Recorded]) -> None:
        self.first = first
        self.last = first + len(records) - 1
        self._chunk: Chunk | None = None
        self._records: Sequence[Recorded] = ()
        try:
            self._chunk = chunk = encode(records)
            self.size = chunk.size
        except (TypeError, ValueError, OverflowError):  # one has no such form: as it is, then
            for record in records:
                record.original = None
            self._records = records
            self.size = held(records)

    def records(self) -> Sequence[Recorded]:
        return self._records if self._chunk is None else list(decode(self._chunk))


class ResponseLog:
    """Responses from number 1 on, of which the oldest may be gone.

    Attributes:
        first: the number of the first that is there, or would be.
        last: the number of the last that was said; 0 for none.
        size: bytes that are held, about.
    """

    __slots__ = ("_blocks", "_tail", "_tail_size", "first", "last", "size")

    def __init__(self, said: int = 0) -> None:
        """
        Args:
            said: how many responses were said before, elsewhere.
        """
        self.first, self.last = said + 1, said
        self.size = self._tail_size = 0
        self._blocks: deque[Block] = deque()
        self._tail: list[Recorded] = []

    def add(self, record: Recorded, heard: bool = True) -> None:
        """
        Args:
            heard: whether anybody listens now.
        """
        self._tail.append(record)
        self.last += 1
        held = record.size + RESPONSE_BYTES
        self.size += held
        self._tail_size += held
        folded = FOLDED_HEARD if heard else FOLDED_UNHEARD
        if len(self._tail) >= 2 * folded:
            self._fold(len(self._tail) - folded)

    def fold(self) -> None:
        """Make all of it bytes: nothing more comes, or for a while."""
        if self._tail:
            self._fold(len(self._tail))

    def _fold(self, count: int) -> None:
        folded, self._tail = self._tail[:count], self._tail[count:]
        begin = self.last - len(self._tail) - count + 1
        for at in range(0, count, FOLDED_HEARD):
            block = Block(begin + at, folded[at : at + FOLDED_HEARD])
            self._blocks.append(block)
            self.size += block.size
        freed = self._tail_size
        self._tail_size = held(self._tail)
        self.size -= freed - self._tail_size

    def after(self, number: int) -> Sequence[Recorded]:
        """The next responses after one, as many as are at hand together; empty after the last.

        Args:
            number: from `first` - 1 to `last`.
        """
        in_tail = number - (self.last - len(self._tail))
        if in_tail >= 0:
            return self._tail[in_tail:]
        # Readers are mostly near the end.
        for block in reversed(self._blocks):
            if block.first <= number + 1:
                return block.records()[number + 1 - block.first :]
        raise IndexError(number)

    def drop(self, heard: int) -> bool:
        """Drop the oldest responses that lie together; whether there were any.

        Args:
            heard: the number of the last that may be dropped.
        """
        if not self._blocks and self._tail and self.last - len(self._tail) < heard:
            self._fold(min(len(self._tail), heard - (self.last - len(self._tail))))
        if not self._blocks or self._blocks[0].last > heard:
            return False
        block = self._blocks.popleft()
        self.size -= block.size
        self.first = block.last + 1
        return True

    def clear(self) -> None:
        """Drop everything."""
        self._blocks.clear()
        self._tail.clear()
        self.size = self._tail_size = 0
        self.first = self.last + 1


def held(records: Sequence[Recorded]) -> int:
    """What Python holds for responses that are not bytes yet."""
    return sum(record.size + RESPONSE_BYTES for record in records)
