"""What an engine is: it writes text for a Generation, piece by piece."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any, Protocol

from .generation import Generation


class NotInstalledError(Exception):
    """What an engine needs is not on this machine; `str()` is a sentence that says what to do."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Some text of one choice.

    Attributes:
        choice: which of the `n` that were asked for.
        finish_reason: `stop`, `length` or `tool_calls` on a choice's last piece.
        logprobs: one for each token, as OpenAI's chat has them: token, logprob, bytes and
            top_logprobs.
        tool_calls: OpenAI's list of deltas.
    """

    text: str = ""
    choice: int = 0
    finish_reason: str | None = None
    logprobs: list[dict[str, Any]] | None = None
    tool_calls: list[dict[str, Any]] | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """The tokens of all choices together; `cached_tokens` of the prompt's were known already."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int


class Engine(Protocol):
    """
    Attributes:
        context: tokens that a prompt and its answer have together.
        choices: how many answers to one prompt it can write.
    """

    context: int
    choices: int

    async def load(self) -> None:
        """Raises ValueError: the weights or the engine's own settings are no good."""

    async def close(self) -> None:
        """Give back all memory and end all threads; streams under way end."""

    def generate(self, generation: Generation) -> AsyncGenerator[Piece | Usage, None]:
        """Pieces as they are written, and last one Usage. Closing it stops the work.

        Raises:
            RequestError: the request asks for what the engine cannot do.
            BusyError: as many wait as may.
        """
