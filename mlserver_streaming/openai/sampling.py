"""How an answer is to be made: OpenAI's fields as the parameters of a V2 request. Pure.

Lists and objects go as JSON text, since gRPC's parameters (and so workers and upstreams) hold none.
"""

from typing import Any

import orjson

from ..errors import BadRequestError
from .errors import FieldError
from .fields import Fields

MOST_CHOICES = 128
MOST_STOPS = 4  # as OpenAI has it
MOST_TOKENS = 2**31 - 1
JSON_TYPES = {"object", "array", "string", "number", "integer", "boolean", "null"}
# OpenAI's own fields that no model here is told of. All others of one value are passed on: engines
# know more than OpenAI does (top_k, min_p), and so does this service (cache, timeout).
NOT_PASSED = frozenset(
    {
        *("model", "stream", "user", "store", "service_tier", "safety_identifier", "echo"),
        *("prompt_cache_key", "prompt_cache_retention", "parallel_tool_calls", "reasoning_effort"),
        *("verbosity", "prompt", "input", "instructions", "background", "truncation", "logprobs"),
        *("top_logprobs", "max_tokens", "max_completion_tokens", "max_output_tokens", "best_of"),
        *("max_tool_calls", "suffix", "previous_response_id", "conversation", "tool_choice"),
        *("function_call", "include_obfuscation", "file", "language", "response_format"),
        *("content_type", "headers"),  # V2's own
    }
)


def sampling(fields: Fields, *most_tokens: str) -> dict[str, Any]:
    """The parameters that all of the text routes know, and what else there is of single values.

    Args:
        most_tokens: the names of the field that bounds the answer; the first that is there counts.
    """
    bounds = [fields.integer(name, 1, MOST_TOKENS) for name in most_tokens]
    found: dict[str, Any] = {
        "max_tokens": next((bound for bound in bounds if bound is not None), None),
        "temperature": fields.number("temperature", 0, 2),
        "top_p": fields.number("top_p", 0, 1),
        "frequency_penalty": fields.number("frequency_penalty", -2, 2),
        "presence_penalty": fields.number("presence_penalty", -2, 2),
        "seed": fields.integer("seed", -(2**63), 2**63 - 1),
        "n": fields.integer("n", 1, MOST_CHOICES),
        "stop": stop(fields),
    }
    for name, value in fields.all.items():
        if name not in NOT_PASSED and isinstance(value, str | int | float):
            found.setdefault(name, value)
    return {name: value for name, value in found.items() if value is not None}


def stop(fields: Fields) -> str | None:
    value = fields.all.get("stop")
    if value is None or value == []:
        return None
    if isinstance(value, str):
        return value
    if not isinstance(value, list) or not all(isinstance(each, str) and each for each in value):
        fields.wrong("stop", "text, or a list of texts that are not empty")
    if len(value) > MOST_STOPS:
        raise FieldError(f"'stop' has {len(value)} texts, and may have {MOST_STOPS}.", "stop")
    return as_text(value)


def response_format(form: Fields | None, flat: bool = False) -> dict[str, Any] | None:
    """The form of the answer, as chat has it; None where that is text.

    Args:
        form: of chat: `json_schema` has name and schema.
        flat: whether both stand beside `type`, as in responses.
    """
    if form is None:
        return None
    kind = form.one_of("type", ("text", "json_object", "json_schema"))
    if kind is None:
        form.wrong("type", "one of text, json_object, json_schema")
    if kind == "text":
        return None
    if kind == "json_object":
        return {"type": kind}
    holder = form if flat else form.object("json_schema")
    if holder is None:
        form.wrong("json_schema", "an object with name and schema")
    schema = holder.object("schema")
    if schema is None:
        holder.wrong("schema", "a JSON schema")
    name = schema.all.get("type")
    types = name if isinstance(name, list) else [name]
    if name is not None and not all(isinstance(t, str) and t in JSON_TYPES for t in types):
        schema.wrong("type", f"one of {', '.join(sorted(JSON_TYPES))}")
    kept = ("name", "description", "schema", "strict")
    return {"type": kind, "json_schema": {k: holder.all[k] for k in kept if k in holder.all}}


def as_text(value: Any) -> str:
    """A list or an object, as a parameter or an input holds it.

    Raises:
        BadRequestError: it is nested deeper than can be written again.
    """
    try:
        return orjson.dumps(value).decode()
    except TypeError as error:
        raise BadRequestError("Something in the request is nested too deep.") from error
