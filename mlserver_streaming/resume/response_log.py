"""What a stream said, by number: the newest as the model gave them, all others as compact bytes."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from mlserver.types import InferenceResponse, Parameters

from ..models.messages import response as response_of
from ..recordings.recorded import Recorded, said_by
from ..recordings.recording import Chunk, decode, encode, encode_texts

# What Python holds for a response of one small tensor, beside its data (as in cache/flight.py).
RESPONSE_BYTES = 2560
# Responses that are made into bytes at once, while as many newer ones stay as they are. Few enough
# that Python's garbage collector hardly meets one.
FOLDED = 24
# Responses that stay as they are at most: while nobody reads; and while somebody does, who is not
# to read back from bytes what a model that never waits has said in one turn of the loop.
UNREAD_TAIL, READ_TAIL = 2 * FOLDED, 4 * FOLDED
# Given as bytes at once, about.
CHUNKS_BYTES = 1024 * 1024
# A response that counts by itself: all bounds are many times what so many smaller ones hold.
LARGE_BYTES = 2048


class Block:
    """Some responses in a row."""

    __slots__ = ("_records", "chunk", "first", "last", "size")

    def __init__(self, first: int, responses: Sequence[InferenceResponse], sizes: int) -> None:
        """
        Args:
            sizes: of their data, in all.
        """
        self.first = first
        self.last = first + len(responses) - 1
        self.chunk: Chunk | None = None
        self._records: Sequence[Recorded] = ()
        try:
            self.chunk = chunk = encoded(responses)
            self.size = chunk.size
        except (TypeError, ValueError, OverflowError):  # one has no such form: as it is, then
            self._records = [taken_down(response) for response in responses]
            self.size = sizes + RESPONSE_BYTES * len(responses)

    def records(self) -> Sequence[Recorded]:
        return self._records if self.chunk is None else list(decode(self.chunk))


class ResponseLog:
    """Responses from number 1 on, of which the oldest may be gone.

    Attributes:
        first: the number of the first that is there, or would be.
        last: the number of the last that was said; 0 for none.
        size: bytes that are held, about.
        most: how many of the newest stay as they are.
    """

    __slots__ = ("_blocks", "_due", "_sizes", "_tail", "first", "last", "most", "size")

    def __init__(self, said: int = 0) -> None:
        """
        Args:
            said: how many responses were said before, elsewhere.
        """
        self.first, self.last = said + 1, said
        self.size = 0
        self.most = UNREAD_TAIL
        self._due = said + UNREAD_TAIL
        self._blocks: deque[Block] = deque()
        self._tail: list[InferenceResponse] = []
        self._sizes: list[int] = []

    def add(self, response: InferenceResponse, size: int) -> bool:
        """Take one more; whether to look now at how much there is.

        Args:
            response: nobody else's any more.
            size: bytes of its data.
        """
        tail = self._tail
        tail.append(response)
        self._sizes.append(size)
        self.last += 1
        self.size += size + RESPONSE_BYTES
        if self.last < self._due:
            return size >= LARGE_BYTES
        self._due = self.last + FOLDED
        while len(tail) >= self.most:
            self._fold(FOLDED)
        return True

    def fold_up_to(self, heard: int) -> bool:
        """Make the oldest bytes where all who keep up have them; whether there were any."""
        tail = self._tail
        if len(tail) < UNREAD_TAIL or heard < self.last - len(tail) + FOLDED:
            return False
        self._fold(FOLDED)
        return True

    def fold(self) -> None:
        """Make all of it bytes: nothing more comes, or for a while."""
        while self._tail:
            self._fold(min(FOLDED, len(self._tail)))

    def _fold(self, count: int) -> None:
        sizes = sum(self._sizes[:count])
        block = Block(self.last - len(self._tail) + 1, self._tail[:count], sizes)
        self._blocks.append(block)
        del self._tail[:count], self._sizes[:count]
        self.size += block.size - sizes - RESPONSE_BYTES * count

    def after(self, number: int) -> Sequence[InferenceResponse]:
        """The next responses after one, as many as are at hand together; empty after the last.

        Args:
            number: from `first` - 1 to `last`.
        """
        in_tail = number - (self.last - len(self._tail))
        if in_tail >= 0:
            return self._tail[in_tail:]
        return [restored(record) for record in self._records(number)]

    def _records(self, number: int) -> Sequence[Recorded]:
        # Readers are mostly near the end.
        for block in reversed(self._blocks):
            if block.first <= number + 1:
                return block.records()[number + 1 - block.first :]
        raise IndexError(number)

    def chunks_after(self, number: int, is_all: bool) -> tuple[int, list[Chunk]]:
        """How many responses after one, at least one, and they as bytes.

        Args:
            number: from `first` - 1 to `last` - 1.
            is_all: whether no more come: otherwise what will be made bytes with others is left for
                later, where there are any before it.

        Raises:
            TypeError, ValueError, OverflowError: a response has no such form.
        """
        chunks: list[Chunk] = []
        at, size = number, 0
        for block in self._blocks:
            if block.first == at + 1 and block.chunk is not None and size < CHUNKS_BYTES:
                chunks.append(block.chunk)
                at, size = block.last, size + block.size
        if not chunks or (is_all and self._tail and at == self.last - len(self._tail)):
            some = self.after(at)[:FOLDED]
            chunks.append(encoded(some))
            at += len(some)
        return at - number, chunks

    def drop(self, heard: int) -> bool:
        """Drop the oldest responses that lie together; whether there were any.

        Args:
            heard: the number of the last that may be dropped.
        """
        before_tail = self.last - len(self._tail)
        if not self._blocks and heard > before_tail:
            self._fold(min(len(self._tail), heard - before_tail, FOLDED))
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
        self._sizes.clear()
        self.size = 0
        self.first = self.last + 1


def encoded(responses: Sequence[InferenceResponse]) -> Chunk:
    """Responses as bytes.

    Raises:
        TypeError, ValueError, OverflowError: one has no such form.
    """
    chunk = encode_texts(responses)
    return chunk or encode([taken_down(response) for response in responses])


def taken_down(response: InferenceResponse) -> Recorded:
    """A response, with the id that it has; when it came is not told."""
    parameters = response.parameters
    return Recorded(
        response.model_name,
        response.model_version,
        0.0,
        None if parameters is None else said_by(parameters),
        response.outputs,
        id=response.id,
    )


def restored(record: Recorded) -> InferenceResponse:
    """The response that was taken down."""
    said = record.parameters
    parameters = None if said is None else Parameters(**said)
    return response_of(
        record.model_name, record.model_version, record.id, record.outputs, parameters
    )
