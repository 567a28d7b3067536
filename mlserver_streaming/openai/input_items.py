"""What a response was asked with, as OpenAI lists it. Pure.

https://platform.openai.com/docs/api-reference/responses/input-items
"""

from __future__ import annotations

from typing import Any

from .answers import Body
from .responses import COMPLETED, RESPONSE_PREFIX

# What may be kept of a response's input, as JSON.
KEPT_BYTES = 64 * 1024
MOST_ITEMS, ITEMS = 100, 20


def input_items(given: Any, response_id: str) -> list[Body]:
    """The items of an input, the first one first, each with an id.

    Args:
        given: the field `input`, which has been read.
    """
    items = [{"role": "user", "content": given}] if isinstance(given, str) else given
    tail = response_id.removeprefix(RESPONSE_PREFIX)
    return [_item(each, f"in_{tail}_{index}") for index, each in enumerate(items)]


def page(items: list[Body], after: str | None, limit: int, is_newest_first: bool) -> Body | None:
    """So many of them behind one, which is named by its id; None where there is none of it."""
    ordered = items[::-1] if is_newest_first else items
    begin = 0
    if after is not None:
        ids = [each["id"] for each in ordered]
        if after not in ids:
            return None
        begin = ids.index(after) + 1
    found = ordered[begin : begin + limit]
    return {
        "object": "list",
        "data": found,
        "first_id": found[0]["id"] if found else "",
        "last_id": found[-1]["id"] if found else "",
        "has_more": begin + limit < len(ordered),
    }


def _item(given: Body, made_id: str) -> Body:
    kind = given.get("type") or "message"
    item = {**given, "type": kind, "status": COMPLETED}
    if not isinstance(given.get("id"), str):
        item["id"] = made_id
    content = given.get("content")
    if kind == "message" and isinstance(content, str):
        said: Body = {"type": "input_text", "text": content}
        if given["role"] == "assistant":
            said = {"type": "output_text", "text": content, "annotations": []}
        item["content"] = [said]
    return item
