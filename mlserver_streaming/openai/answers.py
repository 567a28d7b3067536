"""How the pieces of an answer are written: what the routes for text have in common. Pure."""

from __future__ import annotations

from typing import Any, Protocol

import orjson

from ..errors import MLServerError
from .ask import Ask
from .errors import error_event
from .pieces import Piece, Usage

DONE = b"data: [DONE]\n\n"
Body = dict[str, Any]


class Answer(Protocol):
    """One answer, on its way."""

    def begin(self) -> bytes:
        """Events before the first piece."""

    def event(self, piece: Piece) -> bytes:
        """The events of a piece."""

    def end(self, usage: Usage | None) -> bytes:
        """Events after the last piece."""

    def error(self, error: MLServerError) -> bytes:
        """The event that ends an answer which failed amid it."""

    def add(self, piece: Piece) -> None:
        """Keep a piece of an answer that goes out whole."""

    def whole(self, usage: Usage | None) -> Body:
        """All pieces that were added, as one."""


class ChoicesAnswer:
    """An answer made of choices, each of pieces: chat's and completions'."""

    prefix = object = chunk_object = ""

    def __init__(self, ask: Ask):
        self._ask = ask
        self._head: Body = {
            "id": f"{self.prefix}-{ask.id}",
            "object": self.object,
            "created": ask.created,
            "model": ask.model,
        }
        self._chunk_head = self._head | {"object": self.chunk_object}
        self._choices: dict[int, Kept] = {}

    def begin(self) -> bytes:
        return b""

    def event(self, piece: Piece) -> bytes:
        return b"".join(map(self._chunk, self.chunk_choices(piece)))

    def end(self, usage: Usage | None) -> bytes:
        if not self._ask.wants_usage or usage is None:
            return DONE
        return data(self._chunk_head | {"choices": [], "usage": usage.chat()}) + DONE

    def error(self, error: MLServerError) -> bytes:
        return error_event(error)

    def add(self, piece: Piece) -> None:
        self._choices.setdefault(piece.choice, Kept()).add(piece)

    def whole(self, usage: Usage | None) -> Body:
        choices = [self.choice(index, kept) for index, kept in sorted(self._choices.items())]
        return self._head | {"choices": choices, "usage": usage and usage.chat()}

    def chunk_choices(self, piece: Piece) -> list[Body]:
        raise NotImplementedError

    def choice(self, index: int, kept: Kept) -> Body:
        raise NotImplementedError

    def _chunk(self, choice: Body) -> bytes:
        # As OpenAI has it: where usage comes at the end, each chunk says that it is not there yet.
        not_yet = {"usage": None} if self._ask.wants_usage else {}
        return data(self._chunk_head | {"choices": [choice], **not_yet})


class Kept:
    """The pieces of one choice, joined.

    Attributes:
        tool_calls: whole, by their numbers.
    """

    def __init__(self) -> None:
        self._texts: list[str] = []
        self.finish_reason = "stop"
        self.logprobs: list[Any] | None = None
        self.tool_calls: dict[int, Body] = {}

    def add(self, piece: Piece) -> None:
        self._texts.append(piece.text)
        self.finish_reason = piece.finish_reason or self.finish_reason
        if piece.logprobs is not None:
            self.logprobs = [*(self.logprobs or []), *piece.logprobs]
        for call in piece.tool_calls or ():
            self._add_call(call)

    @property
    def text(self) -> str:
        return "".join(self._texts)

    def _add_call(self, call: Body) -> None:
        kept = self.tool_calls.setdefault(
            int(call.get("index", len(self.tool_calls))),
            {"id": None, "type": "function", "function": {"name": "", "arguments": ""}},
        )
        said = call.get("function") or {}
        kept["id"] = call.get("id") or kept["id"]
        kept["function"]["name"] = said.get("name") or kept["function"]["name"]
        kept["function"]["arguments"] += said.get("arguments") or ""


def data(body: Body, name: str = "") -> bytes:
    """An event.

    Args:
        name: the event's; none where it is empty.
    """
    head = b"event: %b\n" % name.encode() if name else b""
    return b"%bdata: %b\n\n" % (head, orjson.dumps(body))
