"""A conversation, checked, in the one form that engines' templates know. Pure."""

from typing import Any

from .errors import FieldError
from .fields import Fields

ROLES = ("system", "developer", "user", "assistant", "tool", "function")
TEXT_PARTS = ("text", "input_text", "output_text")
KEPT = ("name", "tool_calls", "tool_call_id", "function_call")
Message = dict[str, Any]


def read_messages(fields: Fields) -> list[Message]:
    """The messages of a chat, their contents as plain text.

    Raises:
        FieldError: they are no list, or an empty one, or one of them is none that can be read.
    """
    found = [read_message(each) for _, each in fields.objects("messages")]
    if not found:
        fields.wrong("messages", "a list of one message or more")
    return found


def read_message(fields: Fields) -> Message:
    role = fields.one_of("role", ROLES)
    if role is None:
        fields.wrong("role", f"one of {', '.join(ROLES)}")
    message: Message = {
        # OpenAI's newer name for it, which no model's template knows.
        "role": "system" if role == "developer" else role,
        "content": read_content(fields, may_be_absent=role == "assistant"),
    }
    return message | {name: fields.all[name] for name in KEPT if fields.all.get(name) is not None}


def read_content(fields: Fields, name: str = "content", may_be_absent: bool = False) -> str:
    """Text, or the joined text of a list of parts."""
    value = fields.all.get(name)
    if isinstance(value, str):
        return value
    if value is None and may_be_absent:
        return ""
    if not isinstance(value, list):
        fields.wrong(name, "text, or a list of parts")
    return "".join(_text_of(path, part) for path, part in fields.objects(name))


def _text_of(path: str, part: Fields) -> str:
    kind = part.all.get("type")
    if kind == "refusal":
        return part.needed_text("refusal")
    if kind not in TEXT_PARTS:
        kind = kind if isinstance(kind, str) else "no type"
        raise FieldError(f"'{path}' is a part of {kind[:50]!r}; only text is read here.", path)
    text = part.text("text")
    if text is None:
        part.wrong("text", "text")
    return text


def last_words(messages: list[Message]) -> str:
    """What a model that knows no conversation is told: what the user said last."""
    of_user = [message for message in messages if message["role"] == "user"]
    return str((of_user or messages)[-1]["content"])
