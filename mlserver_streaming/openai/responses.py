"""Answers of `responses`: a text and calls of functions, each an item. Pure.

https://platform.openai.com/docs/api-reference/responses-streaming
"""

from __future__ import annotations

from typing import Any

from ..errors import MLServerError
from .answers import Body, Kept, data
from .ask import Ask
from .errors import error_event, error_object
from .pieces import Piece, Usage

RESPONSE_PREFIX = "resp_"
COMPLETED, INCOMPLETE, FAILED, CANCELLED = "completed", "incomplete", "failed", "cancelled"
QUEUED, RUNNING = "queued", "in_progress"
UNFINISHED = (QUEUED, RUNNING)


class ResponseAnswer:
    """Events, each with its number: the response, its items, their parts, and the ends of all."""

    def __init__(self, ask: Ask):
        self._id = RESPONSE_PREFIX + ask.id
        self._head: Body = {
            "id": self._id,
            "object": "response",
            "created_at": ask.created,
            "model": ask.model,
            "instructions": None,
            "metadata": {},
            "parallel_tool_calls": True,
            "previous_response_id": None,
            "temperature": ask.parameters.get("temperature"),
            "top_p": ask.parameters.get("top_p"),
            "max_output_tokens": ask.parameters.get("max_tokens"),
            "tool_choice": "auto",
            "tools": [],
            "error": None,
            "background": ask.background,
        }
        self._kept = Kept()
        self._sequence = 0
        # The items in the order in which they began: None is the text, a number a call.
        self._items: list[int | None] = []
        # One in the background is told of at once, and waits then.
        self._waits = ask.background

    def begin(self) -> bytes:
        status = QUEUED if self._waits else RUNNING
        response = self._response(status, None)
        return self._event("response.created", response=response) + self._event(
            f"response.{status}", response=response
        )

    def event(self, piece: Piece) -> bytes:
        found = self._runs()
        self._kept.add(piece)
        if piece.text:
            found += self._open(None)
            found += self._event(
                "response.output_text.delta",
                **self._part_of(None),
                delta=piece.text,
                logprobs=[],
            )
        for call in piece.tool_calls or ():
            number = int(call.get("index", 0))
            found += self._open(number)
            if arguments := (call.get("function") or {}).get("arguments"):
                found += self._event(
                    "response.function_call_arguments.delta",
                    **self._place(number),
                    delta=arguments,
                )
        return found

    def end(self, usage: Usage | None) -> bytes:
        # There is always an item: an answer without text is an empty one.
        found = self._runs() + (b"" if self._items else self._open(None))
        for key in self._items:
            found += self._close(key)
        status = self._status()
        return found + self._event(f"response.{status}", response=self._response(status, usage))

    def error(self, error: MLServerError) -> bytes:
        said = error_object(error.status_code, str(error), error)
        beside = {"type": "error", "sequence_number": self._sequence}
        return error_event(error, **beside, **{n: said[n] for n in ("code", "message", "param")})

    def failed(self, error: MLServerError) -> bytes:
        """The last event of one in the background that failed."""
        return self._event("response.failed", response=self.stands(FAILED, None, error))

    def add(self, piece: Piece) -> None:
        self.event(piece)

    def whole(self, usage: Usage | None) -> Body:
        if not self._items:
            self._open(None)
        return self._response(self._status(), usage)

    def stands(self, status: str, usage: Usage | None, error: MLServerError | None = None) -> Body:
        """The response with what there is of it, whole or not."""
        of_items = RUNNING if status in UNFINISHED else INCOMPLETE
        return self._response(status, usage) | {
            "output": [self._item(key, of_items) for key in self._items],
            "error": error and {"code": _code(error.status_code), "message": str(error)},
        }

    def _runs(self) -> bytes:
        """The event by which a wait ends."""
        if not self._waits:
            return b""
        self._waits = False
        return self._event("response.in_progress", response=self._response(RUNNING, None))

    def _status(self) -> str:
        return INCOMPLETE if self._kept.finish_reason == "length" else COMPLETED

    def _response(self, status: str, usage: Usage | None) -> Body:
        reason = {"reason": "max_output_tokens"} if status == INCOMPLETE else None
        return self._head | {
            "status": status,
            "incomplete_details": reason,
            "output": [] if status in UNFINISHED else [self._item(i, status) for i in self._items],
            "usage": usage and _usage(usage),
        }

    def _open(self, key: int | None) -> bytes:
        """The events by which an item begins; none where it has."""
        if key in self._items:
            return b""
        self._items.append(key)
        item = self._item(key, RUNNING, is_new=True)
        found = self._event(
            "response.output_item.added", output_index=self._items.index(key), item=item
        )
        if key is None:
            part = _text_part("")
            found += self._event("response.content_part.added", **self._part_of(key), part=part)
        return found

    def _close(self, key: int | None) -> bytes:
        item = self._item(key, COMPLETED)
        if key is None:
            text, place = self._kept.text, self._part_of(key)
            found = self._event("response.output_text.done", **place, text=text, logprobs=[])
            found += self._event("response.content_part.done", **place, part=_text_part(text))
        else:
            found = self._event(
                "response.function_call_arguments.done",
                **self._place(key),
                name=item["name"],
                arguments=item["arguments"],
            )
        return found + self._event(
            "response.output_item.done", output_index=self._items.index(key), item=item
        )

    def _item(self, key: int | None, status: str, is_new: bool = False) -> Body:
        if key is None:
            content = [] if is_new else [_text_part(self._kept.text)]
            return {
                "id": self._item_id(key),
                "type": "message",
                "role": "assistant",
                "status": status,
                "content": content,
            }
        call = self._kept.tool_calls[key]
        return {
            "id": self._item_id(key),
            "type": "function_call",
            "status": status,
            "call_id": call["id"] or self._item_id(key),
            "name": call["function"]["name"],
            "arguments": "" if is_new else call["function"]["arguments"],
        }

    def _item_id(self, key: int | None) -> str:
        tail = self._id.removeprefix("resp_")
        return f"msg_{tail}" if key is None else f"fc_{tail}_{key}"

    def _place(self, key: int | None) -> Body:
        return {"item_id": self._item_id(key), "output_index": self._items.index(key)}

    def _part_of(self, key: int | None) -> Body:
        return {**self._place(key), "content_index": 0}

    def _event(self, kind: str, /, **said: Any) -> bytes:
        event = data({"type": kind, "sequence_number": self._sequence, **said}, kind)
        self._sequence += 1
        return event


def _text_part(text: str) -> Body:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _code(status: int) -> str:
    """The code of a response that failed; OpenAI knows none that says more of a request."""
    if status == 429:
        return "rate_limit_exceeded"
    return "server_error" if status >= 500 else "invalid_prompt"


def _usage(usage: Usage) -> Body:
    return {
        "input_tokens": usage.prompt,
        "input_tokens_details": {"cached_tokens": usage.cached},
        "output_tokens": usage.completion,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": usage.prompt + usage.completion,
    }
