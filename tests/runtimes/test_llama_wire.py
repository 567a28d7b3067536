"""llama.cpp's chunks, as they were seen, read."""

from typing import Any

import pytest

from mlserver_streaming.models.errors import RequestError
from runtimes.language import llama_wire
from runtimes.language.engine import Piece, Usage
from tests.runtimes.language_fakes import generation

SCHEMA = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "string"}}}


def chunk(delta: dict[str, Any], **choice: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "finish_reason": None, "delta": delta, **choice}]}


def read(chunk: dict[str, Any], logprobs: int | None = None) -> list[Piece]:
    return list(llama_wire.pieces(chunk, logprobs))


def test_text_its_choice_and_its_end() -> None:
    assert read(chunk({"content": "Paris"}, index=2)) == [Piece("Paris", 2)]
    assert read(chunk({}, finish_reason="length")) == [Piece(finish_reason="length")]
    of_completions = {"choices": [{"index": 0, "text": " the", "finish_reason": None}]}
    assert read(of_completions) == [Piece(" the")]


def test_a_role_and_progress_say_nothing() -> None:
    assert read(chunk({"role": "assistant", "content": None}) | {"prompt_progress": {}}) == []
    assert read({"choices": []}) == []


def test_tool_calls_pass() -> None:
    calls = [{"index": 0, "id": "1", "type": "function", "function": {"name": "f"}}]
    assert read(chunk({"tool_calls": calls})) == [Piece(tool_calls=calls)]


def test_the_tokens_that_were_used() -> None:
    found = {
        "choices": [],
        "usage": {
            "prompt_tokens": 25,
            "completion_tokens": 16,
            "prompt_tokens_details": {"cached_tokens": 24},
        },
    }
    assert llama_wire.usage(found) == Usage(25, 16, 24)
    assert llama_wire.usage(chunk({"content": "a"})) is None


@pytest.mark.parametrize(("asked", "alternatives"), [(0, 0), (1, 1)])
def test_logprobs_are_as_many_as_were_asked_for(asked: int, alternatives: int) -> None:
    top = [{"id": 1, "token": "The", "bytes": [84], "logprob": float("-inf")}]
    token = {"id": 2, "token": "L", "bytes": [76], "logprob": -2.25, "top_logprobs": top}
    (piece,) = read(chunk({"content": "L"}, logprobs={"content": [token]}), asked)
    assert piece.logprobs is not None
    (found,) = piece.logprobs
    assert {**found, "top_logprobs": ...} == {
        "token": "L",
        "logprob": -2.25,
        "bytes": [76],
        "top_logprobs": ...,
    }
    # JSON has no infinity.
    assert [each["logprob"] for each in found["top_logprobs"]] == [-9999.0] * alternatives


def test_a_prompt_past_the_context_names_both_numbers() -> None:
    error = {"code": 400, "message": "request exceeds", "n_prompt_tokens": 6019, "n_ctx": 2048}
    with pytest.raises(
        RequestError, match="has 6019 tokens; the model takes 2048 tokens"
    ) as caught:
        read({"error": error})
    assert caught.value.reason == "context_length_exceeded"


def test_errors_by_blame() -> None:
    with pytest.raises(RequestError, match="refuses the request: Field 'n'"):
        read({"error": {"code": 400, "message": "Field 'n': 9"}})
    with pytest.raises(RuntimeError, match="out of memory"):
        read({"error": {"code": 500, "message": "out of memory"}})


def test_its_reasons_are_one_short_line() -> None:
    schema = "Unable to generate parser. JSON schema error at #: unrecognized type nope"
    assert llama_wire.reason(schema) == "The JSON schema is wrong at #: unrecognized type nope"
    grammar = "Failed to initialize samplers: failed to parse grammar"
    assert "fewer repetitions" in llama_wire.reason(grammar)
    assert (
        llama_wire.refused(grammar).param == llama_wire.refused(schema).param == "response_format"
    )
    long = llama_wire.reason("Failed to parse tools: \n" + "x" * 1000)
    assert long == "The model refuses the request: Failed to parse tools:"
    assert len(llama_wire.reason("x" * 1000)) < 250


def test_a_request_for_messages_and_one_for_a_prompt() -> None:
    body = llama_wire.body(generation("hi", logprobs=0, seed=-1, response_format=SCHEMA))
    assert body["messages"] == [{"role": "user", "content": "hi"}]
    assert (body["logprobs"], body["top_logprobs"]) == (True, 1)
    assert body["response_format"] == SCHEMA
    assert 0 <= body["seed"] < 2**32 - 1
    body = llama_wire.body(generation("once", "prompt", logprobs=3))
    assert (body["prompt"], body["logprobs"]) == ("once", 3)
    assert "messages" not in body and "seed" not in body
