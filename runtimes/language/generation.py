"""What is asked of a language model: a request's one input and its parameters, checked. Pure."""

import json
from dataclasses import dataclass
from typing import Any

from mlserver.types import InferenceRequest, RequestInput

from mlserver_streaming.models.errors import ParameterError, RequestError, shown
from mlserver_streaming.models.parameters import integer, number, parameter
from mlserver_streaming.models.tensors import elements, text_elements

INPUTS = ("messages", "prompt", "text_input")
ROLES = ("system", "developer", "user", "assistant", "tool")
FORMATS = ("text", "json_object", "json_schema")
MAX_STOPS, MAX_STOP_CHARACTERS = 16, 256
MAX_LOGPROBS = 20  # OpenAI's bound
# No text has so many characters a token; what is longer is refused before it is read.
CHARACTERS_A_TOKEN = 16
MIN_CHARACTERS = 65_536
MAX_JSON_CHARACTERS = 262_144  # of a parameter
# In a JSON schema, what is no schema itself.
VALUES = ("const", "default", "enum", "examples")
# OpenAI's word for it.
TOO_LONG = "context_length_exceeded"
INT32, INT64 = 2**31 - 1, 2**63


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a model takes, and what it does where a request says nothing.

    Attributes:
        context: tokens of a prompt and its answer.
        choices: answers to one prompt.
        system: the system message of messages that bring none; "" adds none.
    """

    context: int
    choices: int
    system: str = ""
    max_tokens: int = 256
    temperature: float = 1.0
    top_p: float = 1.0


@dataclass(frozen=True, slots=True)
class Generation:
    """
    Attributes:
        input: the name of the one that it came in.
        messages: OpenAI's, each content one text; or None, and `prompt` is continued as it is.
        max_tokens: of each choice, at most the context.
        logprobs: alternatives to each token; 0 is the token's own probability, None is none.
        continues: whether the last message is the answer's own beginning.
        response_format: OpenAI's, of type `json_object` or `json_schema`; None is free text.
    """

    input: str
    messages: list[dict[str, Any]] | None
    prompt: str
    max_tokens: int
    temperature: float
    top_p: float
    frequency_penalty: float
    presence_penalty: float
    seed: int | None
    n: int
    stop: tuple[str, ...]
    logprobs: int | None
    response_format: dict[str, Any] | None
    tools: list[dict[str, Any]] | None
    tool_choice: Any
    continues: bool = False


def read_generation(request: InferenceRequest, bounds: Bounds) -> Generation:
    """
    Raises:
        RequestError: a value is not what a language model takes.
    """
    if len(request.inputs) != 1:
        raise RequestError(f"Send one of {', '.join(map(repr, INPUTS))}, not several.")
    (tensor,) = request.inputs
    text = _text(tensor, bounds.context)
    messages = None
    if tensor.name == "messages":
        messages = _messages(text)
    elif tensor.name == "text_input":
        messages = [{"role": "user", "content": text}]
    if messages is not None and bounds.system and messages[0]["role"] != "system":
        messages.insert(0, {"role": "system", "content": bounds.system})
    seed = parameter(request, "seed")
    tools, response_format = _tools(request), _response_format(request)
    # As with OpenAI's completions; llama.cpp would not check a schema there.
    for name, given in (("tools", tools), ("response_format", response_format)):
        if given is not None and messages is None:
            raise ParameterError(
                f"Parameter '{name}' needs the input 'messages' or 'text_input'.", param=name
            )
    return Generation(
        input=tensor.name,
        messages=messages,
        prompt="" if messages is not None else text,
        max_tokens=min(integer(request, "max_tokens", bounds.max_tokens, 1, INT32), bounds.context),
        temperature=number(request, "temperature", bounds.temperature, 0, 2),
        top_p=number(request, "top_p", bounds.top_p, 0, 1),
        frequency_penalty=number(request, "frequency_penalty", 0, -2, 2),
        presence_penalty=number(request, "presence_penalty", 0, -2, 2),
        seed=None if seed is None else integer(request, "seed", 0, -INT64, INT64),
        n=integer(request, "n", 1, 1, bounds.choices),
        stop=_stop(request),
        logprobs=None
        if parameter(request, "logprobs") is None
        else integer(request, "logprobs", 0, 0, MAX_LOGPROBS),
        response_format=response_format,
        tools=tools,
        tool_choice=_tool_choice(request) if tools else None,
    )


def too_long(tokens: int, context: int, tensor: str | None = None) -> RequestError:
    """A prompt of so many tokens does not fit."""
    return RequestError(
        f"The prompt has {tokens} tokens; the model takes {context} tokens of prompt and answer "
        "together.",
        param=tensor,
        reason=TOO_LONG,
    )


def _text(tensor: RequestInput, context: int) -> str:
    found = elements(tensor)
    if len(found) != 1:
        raise RequestError(
            f"Input '{tensor.name}' holds one text, not {len(found)}; send shape [1].",
            param=tensor.name,
        )
    most = max(MIN_CHARACTERS, context * CHARACTERS_A_TOKEN)
    if isinstance(found[0], str | bytes) and len(found[0]) > most:
        raise RequestError(
            f"Input '{tensor.name}' has {len(found[0])} characters; the model takes {context} "
            "tokens of prompt and answer together.",
            param=tensor.name,
            reason=TOO_LONG,
        )
    (text,) = text_elements(tensor)
    if not text:
        raise RequestError(f"Input '{tensor.name}' is empty.", param=tensor.name)
    return text


def _messages(text: str) -> list[dict[str, Any]]:
    found = _parsed("Input 'messages'", "messages", text)
    if not isinstance(found, list):
        raise RequestError(
            "Input 'messages' must be the JSON text of a list of messages.", param="messages"
        )
    if not found:
        raise RequestError(
            "Input 'messages' is an empty list; send at least one message.", param="messages"
        )
    read = []
    for index, message in enumerate(found):
        try:
            read.append(_message(index, message))
        except RequestError as error:
            error.param = f"messages[{index}]"
            raise
    return read


def _message(index: int, message: Any) -> dict[str, Any]:
    where = f"Message {index} of input 'messages'"
    if not isinstance(message, dict):
        raise RequestError(f"{where} must be an object with role and content.")
    role = message.get("role")
    if role not in ROLES:
        raise RequestError(f"{where} has the role {shown(role)}; it must be {_either(ROLES)}.")
    kept = {
        key: message[key]
        for key in ("name", "tool_calls", "tool_call_id")
        if message.get(key) is not None
    }
    content = message.get("content")
    if content is None and "tool_calls" in kept:
        content = ""
    # OpenAI's newer name of the same; chat templates know the older one.
    role = "system" if role == "developer" else role
    return {"role": role, "content": _content(where, content), **kept}


def _content(where: str, content: Any) -> str:
    if isinstance(content, list):
        parts = []
        for part in content:
            kind = part.get("type") if isinstance(part, dict) else None
            if kind != "text" or not isinstance(part.get("text"), str):
                raise RequestError(
                    f"{where} has a part of type {shown(kind)}; this model takes text only."
                )
            parts.append(part["text"])
        content = "".join(parts)
    if not isinstance(content, str):
        raise RequestError(f"{where} must have a text as content, not {shown(content)}.")
    try:
        content.encode()
    except UnicodeEncodeError as error:  # a lone surrogate, which JSON can carry
        raise RequestError(f"{where} is not valid Unicode text.") from error
    return content


def _stop(request: InferenceRequest) -> tuple[str, ...]:
    given = parameter(request, "stop")
    if given is None:
        return ()
    if isinstance(given, str):
        listed = _list_in(given)
        given = [given] if listed is None else listed
    if (
        not isinstance(given, list)
        or len(given) > MAX_STOPS
        or not all(isinstance(each, str) and 0 < len(each) <= MAX_STOP_CHARACTERS for each in given)
    ):
        raise ParameterError(
            f"Parameter 'stop' must be a text, or a list of at most {MAX_STOPS}, of 1 to "
            f"{MAX_STOP_CHARACTERS} characters each.",
            param="stop",
        )
    return tuple(given)


def _list_in(text: str) -> list[Any] | None:
    """The list whose JSON text this is; None for any other text, "[" too."""
    try:
        found = json.loads(text) if text.startswith("[") else None
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, list) else None


def _response_format(request: InferenceRequest) -> dict[str, Any] | None:
    given = _json_parameter(request, "response_format", dict)
    if given is None:
        return None
    kind = given.get("type")
    if kind not in FORMATS:
        raise ParameterError(
            f"Parameter 'response_format' has the type {shown(kind)}; it must be "
            f"{_either(FORMATS)}.",
            param="response_format",
        )
    if kind == "json_schema":
        described = given.get("json_schema")
        schema = described.get("schema") if isinstance(described, dict) else None
        if not isinstance(schema, dict):
            raise ParameterError(
                "Parameter 'response_format' must have a JSON schema, an object, as "
                "json_schema.schema.",
                param="response_format",
            )
        _check_patterns("response_format", schema)
    return None if kind == "text" else given


def _tools(request: InferenceRequest) -> list[dict[str, Any]] | None:
    tools = _json_parameter(request, "tools", list)
    for tool in tools or ():
        named = tool.get("function") if isinstance(tool, dict) else None
        if (
            not isinstance(named, dict)
            or tool.get("type") != "function"
            or not isinstance(named.get("name"), str)
        ):
            raise ParameterError(
                "Parameter 'tools' must be a list of "
                '{"type": "function", "function": {"name": ..., "parameters": {...}}}.',
                param="tools",
            )
        _check_patterns("tools", named.get("parameters"))
    return tools or None


def _tool_choice(request: InferenceRequest) -> Any:
    given = parameter(request, "tool_choice")
    if given in (None, "none", "auto", "required"):
        return given
    if isinstance(given, str) and not given.startswith("{"):
        raise ParameterError(
            "Parameter 'tool_choice' must be none, auto, required, or the JSON text of an object, "
            f"not {shown(given)}.",
            param="tool_choice",
        )
    return _json_parameter(request, "tool_choice", dict)


def _check_patterns(name: str, schema: Any) -> None:
    """What llama.cpp would not keep to is refused; it would print it, as it is, to the log.

    Args:
        name: the parameter's.
    """
    waiting = [schema]
    while waiting:
        found = waiting.pop()
        if isinstance(found, list):
            waiting += found
        elif isinstance(found, dict):
            # A property may have the name "pattern" too: that is an object.
            given = found.get("pattern")
            if isinstance(given, str) and not (
                given.startswith("^") and given.endswith("$") and given.isprintable()
            ):
                raise ParameterError(
                    f"Parameter '{name}' has the pattern {shown(given)}; it must begin with ^, "
                    "end with $ and hold no control characters.",
                    param=name,
                )
            waiting += [each for key, each in found.items() if key not in VALUES]


def _json_parameter(request: InferenceRequest, name: str, kind: type[Any]) -> Any:
    """A parameter that is a list or an object, or the JSON text of one: gRPC has texts only."""
    given = parameter(request, name)
    if given is None:
        return None
    if isinstance(given, str):
        if len(given) > MAX_JSON_CHARACTERS:
            raise ParameterError(
                f"Parameter '{name}' has {len(given)} characters; it may have "
                f"{MAX_JSON_CHARACTERS}.",
                param=name,
            )
        given = _parsed(f"Parameter '{name}'", name, given)
    if not isinstance(given, kind):
        what = "an object" if kind is dict else "a list"
        raise ParameterError(f"Parameter '{name}' must be the JSON text of {what}.", param=name)
    return given


def _parsed(what: str, param: str, text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_no_number)
    except RecursionError as error:
        raise RequestError(f"{what} is nested too deeply.", param=param) from error
    except ValueError as error:
        raise RequestError(f"{what} is not JSON: {error}.", param=param) from error


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")


def _either(names: tuple[str, ...]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}"
