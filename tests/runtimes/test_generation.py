"""What is asked of a language model, as a caller sends it."""

import json
from typing import Any

import pytest
from mlserver.types import InferenceRequest

from mlserver_streaming.models.errors import RequestError
from runtimes.language.generation import Bounds, read_generation
from tests.runtimes.asking import ask
from tests.runtimes.language_fakes import BOUNDS, generation


def chat(*messages: Any) -> str:
    return json.dumps(messages)


HELLO = {"role": "user", "content": "hello"}
FUNCTION = {"type": "function", "function": {"name": "f", "parameters": {}}}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}}


def test_the_three_inputs() -> None:
    assert generation("hello").messages == [HELLO]
    assert generation(chat(HELLO), "messages").messages == [HELLO]
    found = generation("once upon", "prompt")
    assert (found.messages, found.prompt) == (None, "once upon")


def test_messages_without_a_system_message_get_the_models_own() -> None:
    bounds = Bounds(2048, 4, system="Be brief.")

    def messages(request: InferenceRequest) -> Any:
        return read_generation(request, bounds).messages

    own = {"role": "system", "content": "Be brief."}
    assert messages(ask("text_input", ["hello"])) == [own, HELLO]
    theirs = [{"role": "developer", "content": "Be long."}, HELLO]
    assert messages(ask("messages", [chat(*theirs)])) == [
        {"role": "system", "content": "Be long."},
        HELLO,
    ]
    assert messages(ask("prompt", ["once"])) is None


def test_content_in_parts_of_text_is_one_text() -> None:
    parts = [{"type": "text", "text": "hel"}, {"type": "text", "text": "lo"}]
    assert generation(chat({"role": "user", "content": parts}), "messages").messages == [HELLO]


def test_a_tools_answer_keeps_what_it_belongs_to() -> None:
    call = {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "type": "function"}]}
    answer = {"role": "tool", "content": "7", "tool_call_id": "1"}
    found = generation(chat(HELLO, call, answer), "messages").messages
    assert found == [HELLO, {**call, "content": ""}, answer]


def test_lists_and_objects_come_as_they_are_or_as_json_text() -> None:
    whole = {"response_format": SCHEMA, "tools": [FUNCTION], "stop": ["a", "b"]}
    for given in (whole, {name: json.dumps(value) for name, value in whole.items()}):
        found = generation(**given, tool_choice="required")
        assert found.response_format == SCHEMA
        assert found.tools == [FUNCTION]
        assert found.stop == ("a", "b")
        assert found.tool_choice == "required"


def test_a_stop_that_looks_like_a_list_and_is_none_is_a_text() -> None:
    assert generation(stop="[").stop == ("[",)
    assert generation(stop="[INST]").stop == ("[INST]",)


def test_what_is_not_said_is_the_models_own() -> None:
    found = generation()
    assert (found.max_tokens, found.temperature, found.top_p, found.n) == (256, 1.0, 1.0, 1)
    assert (found.seed, found.stop, found.logprobs) == (None, (), None)
    assert (found.response_format, found.tools, found.tool_choice) == (None, None, None)
    assert generation(response_format='{"type": "text"}').response_format is None


def test_more_tokens_than_the_context_has_are_as_many_as_it_has() -> None:
    assert generation(max_tokens=1_000_000).max_tokens == BOUNDS.context


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("messages", "{}", "must be the JSON text of a list"),
        ("messages", '"hello"', "must be the JSON text of a list"),
        ("messages", "hello", "is not JSON"),
        ("messages", "[NaN]", "is not JSON"),
        ("messages", "[]", "is an empty list"),
        ("messages", "[" * 50_000, "nested too deeply"),
        ("messages", "[1]", "Message 0 of input 'messages' must be an object"),
        ("messages", chat(HELLO, {"role": "wizard", "content": ""}), "Message 1 .* role 'wizard'"),
        ("messages", chat({"role": "user"}), "must have a text as content, not None"),
        ("messages", chat({"role": "user", "content": 7}), "must have a text as content, not 7"),
        (
            "messages",
            chat({"role": "user", "content": [{"type": "image_url", "image_url": {}}]}),
            "a part of type 'image_url'; this model takes text only",
        ),
        ("messages", chat({"role": "user", "content": ["hello"]}), "a part of type None"),
        ("messages", '[{"role": "user", "content": "\\ud800"}]', "not valid Unicode"),
        ("text_input", "", "is empty"),
        ("prompt", "", "is empty"),
        ("prompt", "a" * 1_000_000, "has 1000000 characters; the model takes 2048 tokens"),
    ],
)
def test_what_is_no_input_is_one_sentence(name: str, text: str, says: str) -> None:
    with pytest.raises(RequestError, match=says) as caught:
        generation(text, name)
    assert caught.value.status_code == 400
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("n", value) for value in (0, 5, 1000, 1.5, "many")),
        *(("temperature", value) for value in (-1, 2.1, float("nan"), "hot")),
        *(("top_p", value) for value in (-0.1, 1.1)),
        *(("frequency_penalty", value) for value in (-3, 3)),
        ("presence_penalty", 2.5),
        *(("max_tokens", value) for value in (0, -1, 2**40)),
        *(("logprobs", value) for value in (-1, 21, True)),
        ("seed", "x"),
        *(("stop", value) for value in (["a"] * 100, [""], [1], "", "a" * 257, 7, '["a", 1]')),
        *(("response_format", value) for value in ("7", "x", '{"type": "wizard"}', "{}", [1])),
        ("response_format", {"type": "json_schema"}),
        ("response_format", {"type": "json_schema", "json_schema": {"schema": 7}}),
        ("response_format", {"type": "json_schema", "json_schema": []}),
        *(("tools", value) for value in ("{}", "[1]", [{"type": "function"}], " " * 300_000)),
        ("tools", [{"type": "wizard", "function": {"name": "f"}}]),
    ],
)
def test_a_parameter_that_makes_no_sense_is_named(name: str, value: Any) -> None:
    with pytest.raises(RequestError, match=f"Parameter '{name}' ") as caught:
        generation(**{name: value})
    assert caught.value.status_code == 400
    assert len(str(caught.value)) < 250


@pytest.mark.parametrize("value", ["wizard", "[]", 7])
def test_a_tool_choice_that_is_none_is_named(value: Any) -> None:
    with pytest.raises(RequestError, match="Parameter 'tool_choice' "):
        generation(tools=[FUNCTION], tool_choice=value)


@pytest.mark.parametrize("given", [{"tools": [FUNCTION]}, {"response_format": SCHEMA}])
def test_what_a_continued_prompt_cannot_have(given: dict[str, Any]) -> None:
    with pytest.raises(RequestError, match=f"'{next(iter(given))}' needs the input 'messages'"):
        generation("once", "prompt", **given)


def test_one_input_with_one_text() -> None:
    both = ask("prompt", ["a"])
    both.inputs += ask("text_input", ["b"]).inputs
    with pytest.raises(RequestError, match="Send one of"):
        read_generation(both, BOUNDS)
    with pytest.raises(RequestError, match="one text, not 2"):
        read_generation(ask("prompt", ["a", "b"]), BOUNDS)


@pytest.mark.parametrize(
    "pattern", ["x", "x\n2026-11-28 [mlserver] ERROR - forged", "^x", "x$", "^x\ny$"]
)
def test_a_pattern_that_would_not_be_kept_to_is_refused(pattern: str) -> None:
    # llama.cpp would write it to the log as it is, lines and all.
    schema = {"anyOf": [{"properties": {"pattern": {"type": "string", "pattern": pattern}}}]}
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    with pytest.raises(RequestError, match="must begin with") as caught:
        generation(response_format=form)
    assert (caught.value.param, "\n" in str(caught.value)) == ("response_format", False)
    function = {"name": "f", "parameters": schema}
    with pytest.raises(RequestError, match="must begin with"):
        generation(tools=[{"type": "function", "function": function}])


def test_a_pattern_that_is_kept_to_and_what_is_none() -> None:
    schema = {"properties": {"pattern": {"enum": [{"pattern": "x"}], "pattern": "^x$"}}}
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    assert generation(response_format=form).response_format == form


@pytest.mark.parametrize(
    ("name", "text", "parameters", "param"),
    [
        ("prompt", "x", {"n": 0}, "n"),
        ("prompt", "x", {"stop": [""]}, "stop"),
        ("prompt", "", {}, "prompt"),
        ("messages", "{", {}, "messages"),
        ("messages", '[{"role": "user", "content": "x"}, {"role": "king"}]', {}, "messages[1]"),
        ("text_input", "x", {"response_format": {"type": "yaml"}}, "response_format"),
    ],
)
def test_what_is_wrong_is_named_for_programs_too(
    name: str, text: str, parameters: dict[str, Any], param: str
) -> None:
    with pytest.raises(RequestError) as caught:
        generation(text, name, **parameters)
    assert caught.value.param == param


def test_far_too_long_a_text_has_the_word_that_programs_know() -> None:
    with pytest.raises(RequestError) as caught:
        generation("x" * 70_000)
    assert (caught.value.param, caught.value.reason) == ("text_input", "context_length_exceeded")
