"""Answers of `chat/completions`. Pure.

https://platform.openai.com/docs/api-reference/chat-streaming
"""

from .answers import Body, ChoicesAnswer, Kept
from .ask import Ask
from .pieces import Piece


class ChatAnswer(ChoicesAnswer):
    """Chunks: the role first, then text, then why it ended."""

    prefix, object, chunk_object = "chatcmpl", "chat.completion", "chat.completion.chunk"

    def __init__(self, ask: Ask):
        super().__init__(ask)
        # openai-python's helper takes choices in the order of their numbers, and engines begin with
        # any: so all begin at once, with their roles.
        self._roles = [_chunk(n, {"role": "assistant", "content": ""}) for n in range(ask.choices)]

    def chunk_choices(self, piece: Piece) -> list[Body]:
        found, self._roles = self._roles, []
        if piece.text or piece.logprobs:
            chunk = _chunk(piece.choice, {"content": piece.text})
            if piece.logprobs:
                chunk["logprobs"] = {"content": piece.logprobs, "refusal": None}
            found.append(chunk)
        if piece.tool_calls:
            found.append(_chunk(piece.choice, {"tool_calls": piece.tool_calls}))
        if piece.finish_reason:
            found.append(_chunk(piece.choice, {}) | {"finish_reason": piece.finish_reason})
        return found

    def choice(self, index: int, kept: Kept) -> Body:
        calls = list(kept.tool_calls.values())
        text = kept.text
        message = {"role": "assistant", "content": text or (None if calls else ""), "refusal": None}
        return {
            "index": index,
            "message": message | ({"tool_calls": calls} if calls else {}),
            "logprobs": kept.logprobs and {"content": kept.logprobs, "refusal": None},
            "finish_reason": kept.finish_reason,
        }


def _chunk(index: int, delta: Body) -> Body:
    return {"index": index, "delta": delta, "logprobs": None, "finish_reason": None}
