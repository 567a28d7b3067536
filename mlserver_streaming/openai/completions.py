"""Answers of `completions`. Pure.

https://platform.openai.com/docs/api-reference/completions/object
"""

from typing import Any

from .answers import Body, ChoicesAnswer, Kept
from .ask import Ask
from .pieces import Piece


class CompletionAnswer(ChoicesAnswer):
    """Chunks have the form of the whole."""

    prefix, object, chunk_object = "cmpl", "text_completion", "text_completion"

    def __init__(self, ask: Ask):
        super().__init__(ask)
        # How many characters there were of each choice: where its next token begins.
        self._sent: dict[int, int] = {}

    def chunk_choices(self, piece: Piece) -> list[Body]:
        at = self._sent.get(piece.choice, 0)
        self._sent[piece.choice] = at + len(piece.text)
        return [_choice(piece.choice, piece.text, piece.logprobs, piece.finish_reason, at)]

    def choice(self, index: int, kept: Kept) -> Body:
        return _choice(index, kept.text, kept.logprobs, kept.finish_reason, 0)


def _choice(index: int, text: str, logprobs: list[Any] | None, reason: str | None, at: int) -> Body:
    return {
        "text": text,
        "index": index,
        "logprobs": as_legacy(logprobs, at) if logprobs else None,
        "finish_reason": reason,
    }


def as_legacy(logprobs: list[Any], at: int) -> Body:
    """Chat's logprobs in the form of this older route: a list for each thing that is said.

    Args:
        at: where in the text the first token begins.
    """
    offsets = []
    for token in logprobs:
        offsets.append(at)
        at += len(token["token"])
    return {
        "tokens": [token["token"] for token in logprobs],
        "token_logprobs": [token["logprob"] for token in logprobs],
        "top_logprobs": [
            {other["token"]: other["logprob"] for other in token.get("top_logprobs") or ()}
            for token in logprobs
        ],
        "text_offset": offsets,
    }
