"""llama.cpp's side of it: a Generation as a request to its server, its chunks as pieces. Pure.

The forms are those of its HTTP API: https://github.com/ggml-org/llama.cpp/tree/master/tools/server
"""

import math
from collections.abc import Iterator
from typing import Any

from mlserver_streaming.models.errors import RequestError

from .engine import Piece, Usage
from .generation import Generation, too_long

MAX_SEED = 2**32 - 1  # which is its word for a random one
# What OpenAI writes for a probability of nothing; JSON has no infinity.
NO_LOGPROB = -9999.0
MAX_REASON_CHARACTERS = 200
SCHEMA, GRAMMAR = "JSON schema error at ", "failed to parse grammar"


def body(generation: Generation) -> dict[str, Any]:
    """The request; for its chat completions where there are messages, else for completions."""
    asked: dict[str, Any] = {
        "stream": True,
        "stream_options": {"include_usage": True},
        # A chunk after each batch of the prompt: a chance to stop.
        "return_progress": True,
        "max_tokens": generation.max_tokens,
        "temperature": generation.temperature,
        "top_p": generation.top_p,
        "frequency_penalty": generation.frequency_penalty,
        "presence_penalty": generation.presence_penalty,
        "n": generation.n,
        "stop": list(generation.stop),
    }
    if generation.seed is not None:
        asked["seed"] = generation.seed % MAX_SEED
    # It gives a token's own probability only beside an alternative's.
    alternatives = max(generation.logprobs or 0, 1)
    if generation.messages is None:
        asked["prompt"] = generation.prompt
        if generation.logprobs is not None:
            asked["logprobs"] = alternatives
        return asked
    asked["messages"] = generation.messages
    if generation.logprobs is not None:
        asked |= {"logprobs": True, "top_logprobs": alternatives}
    for name in ("response_format", "tools", "tool_choice"):
        if (given := getattr(generation, name)) is not None:
            asked[name] = given
    return asked


def pieces(chunk: dict[str, Any], logprobs: int | None) -> Iterator[Piece]:
    """What a chunk says; a role, or how far the prompt is read, is nothing.

    Args:
        logprobs: how many alternatives were asked for.

    Raises:
        RequestError: it says that the request cannot be answered.
        RuntimeError: it says that the engine failed.
    """
    if "error" in chunk:
        raise refusal(chunk["error"])
    for choice in chunk.get("choices") or ():
        delta = choice.get("delta") or {}
        text = delta.get("content") or choice.get("text") or ""
        found = (choice.get("logprobs") or {}).get("content")
        piece = Piece(
            text,
            choice.get("index", 0),
            choice.get("finish_reason"),
            None if found is None else [_logprob(each, logprobs or 0) for each in found],
            delta.get("tool_calls"),
        )
        if piece != Piece(choice=piece.choice):
            yield piece


def usage(chunk: dict[str, Any]) -> Usage | None:
    """Each choice's tokens come in a chunk of their own."""
    given = chunk.get("usage")
    if given is None:
        return None
    cached = (given.get("prompt_tokens_details") or {}).get("cached_tokens", 0)
    return Usage(given["prompt_tokens"], given["completion_tokens"], cached)


def _logprob(given: dict[str, Any], alternatives: int) -> dict[str, Any]:
    top = given.get("top_logprobs") or []
    return _token(given) | {"top_logprobs": [_token(each) for each in top[:alternatives]]}


def _token(given: dict[str, Any]) -> dict[str, Any]:
    value = given.get("logprob")
    finite = isinstance(value, int | float) and math.isfinite(value)
    return {
        "token": given["token"],
        "logprob": value if finite else NO_LOGPROB,
        "bytes": given.get("bytes"),
    }


def refusal(error: dict[str, Any]) -> Exception:
    """What an error of its own means."""
    if "n_prompt_tokens" in error and "n_ctx" in error:
        return too_long(error["n_prompt_tokens"], error["n_ctx"])
    text, code = str(error.get("message", "")), error.get("code", 500)
    return refused(text) if 400 <= code < 500 else RuntimeError(text)


def refused(text: str) -> RequestError:
    """What it says is wrong with a request."""
    words = {"JSON schema": "response_format", "grammar": "response_format", "tools": "tools"}
    param = next((param for word, param in words.items() if word in text), None)
    return RequestError(reason(text), param=param)


def reason(text: str) -> str:
    """Its own words of what is wrong with a request, as one sentence.

    A bad schema is told behind a sentence about its parsers.
    """
    schema = text.partition(SCHEMA)[2]
    if schema:
        text = f"The JSON schema is wrong at {schema}"
    elif GRAMMAR in text:
        return "The JSON schema is more than can be kept to; ask for fewer repetitions in it."
    line = (text.strip().splitlines() or [""])[0].rstrip()
    if len(line) > MAX_REASON_CHARACTERS:
        line = f"{line[:MAX_REASON_CHARACTERS]}..."
    return f"The model refuses the request: {line}" if not schema else line
