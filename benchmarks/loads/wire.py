"""What our load generators need of a way to a server: HTTP, gRPC, a WebSocket."""

from collections.abc import Callable
from typing import Any, Protocol

Told = Callable[[bytes], Any]
# What `told` may give back where it need not hear more of this answer.
ENOUGH = object()


def unheard(message: bytes) -> None:
    """Where nobody listens; a wire then need not cut what comes into messages."""


class Wire(Protocol):
    """A connection, or a stream on one.

    Attributes:
        in_turn: it takes a request only after the answer to the one before, `ask` is its only way.
    """

    in_turn: bool

    async def open(self) -> None:
        """Connect, unless it is. Raises AnswerError, OSError."""

    async def ask(self, request: bytes, told: Told = unheard) -> int:
        """Send one request, tell of each message of its answer as it comes; bytes that came.

        Raises:
            AnswerError: the answer is an error, or cut.
        """

    async def whole(self, request: bytes) -> Any:
        """The whole answer: a body, or messages. Raises AnswerError."""

    def read(self, message: bytes) -> tuple[str, str]:
        """What a message says went wrong, empty where nothing did; and its id, where it has one."""

    async def close(self) -> None:
        """Hang up."""


class Stream(Wire, Protocol):
    """A wire that takes further requests while it answers."""

    async def send(self, request: bytes) -> None:
        """One more request on the stream."""

    async def end(self) -> None:
        """There are no more."""

    async def receive(self) -> bytes | None:
        """The stream's next message; None after the last. Raises AnswerError."""
