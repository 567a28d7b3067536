"""What a stream said, by number: texts as such, others as the model gave them; but for the newest,
all of it as compact bytes."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import orjson
from mlserver.types import InferenceResponse, Parameters

from ..models.messages import response as response_of
from ..recordings.recorded import Recorded, said_by
from ..recordings.recording import Chunk, decode, encode
from ..recordings.texts import TEXT_BYTES, Texts

# What Python holds for a response of one small tensor, beside its data (as in cache/flight.py).
RESPONSE_BYTES = 2560
# Responses that lie together, and are made bytes together: few enough that Python's garbage
# collector hardly meets one, enough that who reads what a model that never waits has said in one
# turn of the loop does not read it back from bytes.
TOGETHER = 48
# Texts that lie together, in bytes: they take no turn of the loop to be made one piece.
TEXTS_BYTES = 16 * 1024
# What Python holds for what lies together.
BLOCK_BYTES = 512
# Given as bytes at once, about.
CHUNKS_BYTES = 1024 * 1024
# A response that counts by itself: all bounds are many times what so many smaller ones hold.
LARGE_BYTES = 2048


class Block:
    """Some responses in a row.

    Attributes:
        first: the number of the first.
        last: that of the last, once no more come.
        size: bytes that are held, about.
        held: they as they were; None where they are bytes.
        chunk: they as bytes; None where they are as they were.
    """

    __slots__ = ("are_texts", "chunk", "first", "held", "last", "size")

    def __init__(self, first: int, held: Texts | list[InferenceResponse]) -> None:
        self.first, self.last = first, first - 1
        self.size = BLOCK_BYTES
        self.held: Texts | list[InferenceResponse] | None = held
        self.chunk: Chunk | None = None
        self.are_texts = isinstance(held, Texts)

    def fold(self) -> None:
        """Make them bytes. What has no such form stays as it is."""
        if self.held is not None:
            with suppress(TypeError, ValueError, OverflowError):
                self.chunk = encoded(self.held)
                self.size = BLOCK_BYTES + self.chunk.size
                self.held = None

    def responses(self) -> Sequence[InferenceResponse]:
        if self.chunk is None:
            return self.held or ()
        if self.are_texts and (texts := Texts.read(orjson.loads(self.chunk.head))) is not None:
            return texts
        return [restored(record) for record in decode(self.chunk)]


class ResponseLog:
    """Responses from number 1 on, of which the oldest may be gone.

    Attributes:
        first: the number of the first that is there, or would be.
        last: the number of the last that was said; 0 for none.
    """

    __slots__ = ("_blocks", "_closed_bytes", "_open", "first", "last")

    def __init__(self, said: int = 0) -> None:
        """
        Args:
            said: how many responses were said before, elsewhere.
        """
        self.first, self.last = said + 1, said
        self._blocks: list[Block] = []
        # The last of them, while it takes more; and what the others hold.
        self._open: Block | None = None
        self._closed_bytes = 0

    @property
    def size(self) -> int:
        """Bytes that are held, about."""
        return self._closed_bytes + (0 if self._open is None else self._open.size)

    def add(self, response: InferenceResponse, size: int) -> bool:
        """Take one more; whether to look now at how much there is.

        Args:
            response: nobody else's any more.
            size: bytes of its data.
        """
        is_to_be_counted = self.add_text(response)
        if is_to_be_counted is not None:
            return is_to_be_counted
        block = self._open
        if block is None or not isinstance(block.held, list):
            block = self._begin([])
        assert isinstance(block.held, list)
        block.held.append(response)
        self.last += 1
        block.size += size + RESPONSE_BYTES
        if len(block.held) < TOGETHER:
            return size >= LARGE_BYTES
        self._close()
        return True

    def add_text(self, response: InferenceResponse) -> bool | None:
        """As `add`, of a response that is one text, as tokens come; None for any other."""
        block, size = self._open, None
        if block is not None and isinstance(block.held, Texts):
            size = block.held.take(response)
        if block is None or size is None:
            texts = Texts.like_it(response)
            if texts is None or (size := texts.take(response)) is None:
                return None
            block = self._begin(texts)
        self.last += 1
        block.size += size + TEXT_BYTES
        if block.size < TEXTS_BYTES:
            return size >= LARGE_BYTES
        self._close()
        return True

    def _begin(self, held: Texts | list[InferenceResponse]) -> Block:
        self._close()
        self._open = block = Block(self.last + 1, held)
        self._blocks.append(block)
        return block

    def _close(self) -> None:
        """What comes next lies apart from this; and what lies before it becomes bytes."""
        block, self._open = self._open, None
        if block is not None:
            block.last = self.last
            self._closed_bytes += block.size
            if len(self._blocks) > 1:
                self._fold(self._blocks[-2])

    def fold(self) -> None:
        """Make all of it bytes: nothing more comes, or for a while."""
        self._close()
        for block in self._blocks[-2:]:
            self._fold(block)

    def _fold(self, block: Block) -> None:
        size = block.size
        block.fold()
        self._closed_bytes += block.size - size

    def after(self, number: int) -> Sequence[InferenceResponse]:
        """The next responses after one, as many as are at hand together; empty after the last.

        Args:
            number: from `first` - 1 to `last`.
        """
        block = self._block_after(number)
        return () if block is None else block.responses()[number + 1 - block.first :]

    def _block_after(self, number: int) -> Block | None:
        # Readers are mostly near the end.
        for block in reversed(self._blocks):
            if block.first <= number + 1:
                return block
        return None

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
        if not chunks or (is_all and size < CHUNKS_BYTES and at < self.last):
            some = self.after(at)
            chunks.append(encoded(some))
            at += len(some)
        return at - number, chunks

    def drop(self, heard: int) -> bool:
        """Drop the oldest responses that lie together; whether there were any.

        Args:
            heard: the number of the last that may be dropped.
        """
        self._close()
        if not self._blocks or self._blocks[0].last > heard:
            return False
        block = self._blocks.pop(0)
        self._closed_bytes -= block.size
        self.first = block.last + 1
        return True

    def clear(self) -> None:
        """Drop everything."""
        self._blocks.clear()
        self._open = None
        self._closed_bytes = 0
        self.first = self.last + 1


def encoded(responses: Sequence[InferenceResponse]) -> Chunk:
    """Responses as bytes.

    Raises:
        TypeError, ValueError, OverflowError: one has no such form.
    """
    if isinstance(responses, Texts):
        return Chunk(responses.head(), ())
    return encode([recorded(response) for response in responses])


def recorded(response: InferenceResponse) -> Recorded:
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
