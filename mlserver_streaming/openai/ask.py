"""What a request asks for, whichever route it came by; and the three routes' bodies, read. Pure."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass, field, replace
from typing import Any

from .errors import FieldError
from .fields import Fields
from .messages import Message, read_content, read_message, read_messages
from .sampling import as_text, response_format, sampling
from .tools import tools

MOST_PROMPTS = 128
MOST_ALTERNATIVES = 20
MOST_COMPLETION_ALTERNATIVES = 5


@dataclass(frozen=True, slots=True)
class Ask:
    """A request for text.

    Attributes:
        model: its name.
        messages: the conversation to go on with; None where it is prompts.
        prompts: texts to go on with, each for itself.
        parameters: of the V2 request.
        choices: answers wanted to each.
        streams: whether the answer is wanted in pieces.
        wants_usage: whether a stream is to say, in a chunk of its own, how many tokens there were.
        language_only: fields that only a model which takes messages can do justice to.
        background: whether it is answered whether or not anybody listens.
        input: of `responses`, the field as it came; None where it is not known.
        id: of its answer, behind what all of a route have in common. Nobody can guess it.
        created: seconds since 1970.
    """

    model: str
    messages: list[Message] | None
    prompts: list[str]
    parameters: dict[str, Any]
    choices: int = 1
    streams: bool = False
    wants_usage: bool = False
    language_only: list[str] = field(default_factory=list)
    background: bool = False
    input: Any = None
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    created: int = field(default_factory=lambda: int(time.time()))


def read_chat(fields: Fields) -> Ask:
    """https://platform.openai.com/docs/api-reference/chat/create"""
    parameters = sampling(fields, "max_completion_tokens", "max_tokens") | tools(fields)
    top = fields.integer("top_logprobs", 0, MOST_ALTERNATIVES)
    if fields.flag("logprobs"):
        parameters["logprobs"] = top or 0
    elif top is not None:
        raise FieldError("'top_logprobs' needs 'logprobs' to be true.", "top_logprobs")
    form = response_format(fields.object("response_format"))
    return _ask(fields, parameters, form, messages=read_messages(fields))


def read_completion(fields: Fields) -> Ask:
    """https://platform.openai.com/docs/api-reference/completions/create"""
    parameters = sampling(fields, "max_tokens")
    logprobs = fields.integer("logprobs", 0, MOST_COMPLETION_ALTERNATIVES)
    if logprobs is not None:
        parameters["logprobs"] = logprobs
    for name in ("echo", "suffix"):
        if fields.all.get(name):
            raise FieldError(f"'{name}' is not known here; leave it out.", name)
    if (fields.integer("best_of", 1, MOST_PROMPTS) or 1) > parameters.get("n", 1):
        raise FieldError("'best_of' is not known here; ask for 'n', all of them.", "best_of")
    return _ask(fields, parameters, None, prompts=_prompts(fields))


def read_response(fields: Fields) -> Ask:
    """https://platform.openai.com/docs/api-reference/responses/create"""
    for name in ("previous_response_id", "conversation", "prompt"):
        if fields.all.get(name):
            raise FieldError(
                f"'{name}' is not known here, where none is kept: send the whole conversation "
                "as 'input'.",
                name,
            )
    background = fields.flag("background")
    if background and fields.all.get("store") is False:
        raise FieldError("'background' needs 'store' to be true, or left out.", "store")
    # Not of this route: what would be passed on by these names is none of OpenAI's.
    parameters = sampling(fields, "max_output_tokens") | tools(fields, flat=True)
    parameters.pop("n", None)
    text = fields.object("text")
    form = response_format(text.object("format"), flat=True) if text else None
    messages: list[Message] = []
    if instructions := fields.text("instructions"):
        messages.append({"role": "system", "content": instructions})
    ask = _ask(fields, parameters, form, messages=[*messages, *_items(fields)])
    return replace(ask, background=background, input=fields.all["input"])


def _ask(
    fields: Fields,
    parameters: dict[str, Any],
    form: dict[str, Any] | None,
    messages: list[Message] | None = None,
    prompts: list[str] | None = None,
) -> Ask:
    streams = fields.flag("stream")
    options = fields.object("stream_options")
    if options is not None and not streams:
        raise FieldError("'stream_options' needs 'stream' to be true.", "stream_options")
    choices = parameters.get("n", 1)
    language_only = ["n"] * (choices > 1)
    if form is not None:
        parameters["response_format"] = as_text(form)
        language_only.append("response_format")
    return Ask(
        model=fields.needed_text("model"),
        messages=messages,
        prompts=prompts or [],
        parameters=parameters,
        choices=choices,
        streams=streams,
        wants_usage=options is not None and options.flag("include_usage"),
        language_only=language_only,
    )


def _prompts(fields: Fields) -> list[str]:
    value = fields.all.get("prompt")
    found = [value] if isinstance(value, str) else value
    if not isinstance(found, list) or not found or not all(isinstance(e, str) for e in found):
        fields.wrong("prompt", "text, or a list of texts (token numbers are not read here)")
    if len(found) > MOST_PROMPTS:
        raise FieldError(f"'prompt' has {len(found)} texts, and may have {MOST_PROMPTS}.", "prompt")
    return found


def _items(fields: Fields) -> list[Message]:
    """The input of a response as messages."""
    if isinstance(fields.all.get("input"), str):
        return [{"role": "user", "content": fields.needed_text("input")}]
    found = [_item(each) for _, each in fields.objects("input")]
    if not found:
        fields.wrong("input", "text, or a list of one item or more")
    return found


def _item(item: Fields) -> Message:
    kind = item.all.get("type") or "message"
    if kind == "function_call":
        function = {n: item.needed_text(n) for n in ("name", "arguments")}
        call = {"id": item.needed_text("call_id"), "type": "function", "function": function}
        return {"role": "assistant", "content": "", "tool_calls": [call]}
    if kind == "function_call_output":
        call_id = item.needed_text("call_id")
        return {"role": "tool", "tool_call_id": call_id, "content": read_content(item, "output")}
    if kind != "message":
        item.wrong("type", "one of message, function_call, function_call_output")
    return read_message(item)
