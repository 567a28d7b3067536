"""What a store holds of streams, for the other instances of the service: the interface.

One instance runs a stream's model and holds its lease; it writes, all others read. A lease that is
not renewed runs out, and then one other may take the stream. What a store says is checked: chunks,
heads and endings are sealed, and a chunk says behind which response it stands.

StoreError          the store does not answer, or cannot take any more; later, perhaps
NotHeldError        the stream is another's now, or forgotten: nothing may be written to it
GoneError           there is no such stream
LeftBehindError     the next response is not kept any more
UnheldError         nobody runs the stream, and it has not ended
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

# Before a store that did not answer is asked again.
PAUSE_SECONDS = 0.1


class StoreError(Exception):
    """
    Attributes:
        is_final: whether it is no use to ask again in a moment.
    """

    def __init__(self, why: str, is_final: bool = False) -> None:
        super().__init__(why)
        self.is_final = is_final


class NotHeldError(Exception):
    pass


class GoneError(Exception):
    pass


class UnheldError(Exception):
    pass


class LeftBehindError(Exception):
    """
    Attributes:
        first: the first response that is there.
    """

    def __init__(self, first: int) -> None:
        super().__init__(f"the first response that is there is {first}")
        self.first = first


@dataclass(frozen=True, slots=True)
class Part:
    """Some responses one behind the other, and the stream's end where it is behind them.

    Attributes:
        after: how many responses there are before these.
        count: how many these are; 0 where `chunk` is empty.
        ending: how the stream ended; None while it runs.
    """

    after: int
    count: int = 0
    chunk: bytes = b""
    ending: bytes | None = None

    @property
    def last(self) -> int:
        return self.after + self.count


@dataclass(frozen=True, slots=True)
class Kept:
    """A stream as the store knows it.

    Attributes:
        head: what `begin` was given.
        moved: the id under which it goes on behind its last response; None where it has not moved.
        first: the first response that is there, from 1.
        last: the last one; 0 for none yet.
        ending: None while it has not ended.
        is_held: whether an instance runs it.
        is_cancelled: whether somebody wants it to end.
        is_deleted: whether it is not to be found any more either.
    """

    head: bytes
    first: int
    last: int
    ending: bytes | None
    is_held: bool
    is_cancelled: bool
    is_deleted: bool
    moved: str | None = None


@dataclass(frozen=True, slots=True)
class Told:
    """What who writes is told.

    Attributes:
        cancel: whether somebody wants the stream cancelled.
        delete: whether it is not to be found any more either.
        read: whether it is read at another instance.
    """

    cancel: bool
    delete: bool
    read: bool


class Store(Protocol):
    """Streams by their ids, with those who asked for them: `owner` is a caller's identity, and one
    caller never finds another's. Each method raises StoreError."""

    async def begin(self, stream: str, owner: str, head: bytes) -> None:
        """A stream of ours begins: we hold its lease.

        Raises:
            NotHeldError: there is one of this id.
        """

    async def write(self, stream: str, part: Part) -> Told:
        """Add to a stream that we hold, once: what is there already is not added again. The lease
        is renewed; a part that is empty does no more.

        Raises:
            NotHeldError
        """

    async def amend(self, stream: str, owner: str, head: bytes) -> None:
        """Another head for a stream that we hold.

        Raises:
            NotHeldError
        """

    async def look(self, stream: str, owner: str) -> Kept:
        """What is known of a stream.

        Raises:
            GoneError
        """

    def follow(self, stream: str, owner: str, after: int) -> AsyncGenerator[Part, None]:
        """The responses behind `after`, in order and without a gap, as they are written, to the
        end, which is the last part's.

        Raises:
            GoneError, LeftBehindError
            UnheldError: once all that is there was given.
        """

    def read(self, stream: str, after: int, last: int) -> AsyncGenerator[Part, None]:
        """Those behind `after`, up to `last`, which are there.

        Raises:
            GoneError, LeftBehindError
        """

    async def take(self, stream: str) -> bool:
        """Hold the lease of a stream that nobody else holds; whether we do now. Of several
        instances, one does."""

    async def release(self, stream: str) -> None:
        """Hold it no more: another may take it at once."""

    async def move(self, stream: str, owner: str, to: str) -> None:
        """It goes on under another id, and is nobody's to take.

        Raises:
            NotHeldError
        """

    async def cancel(self, stream: str, delete: bool) -> None:
        """Have it cancelled by who runs it.

        Args:
            delete: whether it is not to be found any more, if it has ended even.
        """

    async def drop(self, stream: str, owner: str) -> None:
        """Forget it, unless another has taken it meanwhile."""

    async def streams(self, owner: str) -> dict[str, Kept]:
        """A caller's streams."""

    async def close(self) -> None: ...


async def twice(question: Callable[[], Awaitable[None]]) -> None:
    """Ask the store, and once more where it does not answer: one late answer costs nothing.

    Raises:
        StoreError
    """
    try:
        await question()
    except StoreError as error:
        if error.is_final:
            raise
        await asyncio.sleep(PAUSE_SECONDS)
        await question()
