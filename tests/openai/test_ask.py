"""Bodies of the three routes for text, read."""

import json

import pytest

from mlserver_streaming.errors import BadRequestError
from mlserver_streaming.openai.ask import read_chat, read_completion, read_response
from mlserver_streaming.openai.errors import FieldError
from mlserver_streaming.openai.fields import Fields

TEXT = "messages[0].content[0].text"


def chat(**fields):
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}], **fields}
    return read_chat(Fields(body))


def completion(**fields):
    return read_completion(Fields({"model": "m", "prompt": "x", **fields}))


def response(**fields):
    return read_response(Fields({"model": "m", "input": "x", **fields}))


def test_every_field_that_the_engines_know_becomes_a_parameter():
    known = {
        "temperature": 0.5,
        "top_p": 1.0,
        "frequency_penalty": -2.0,
        "presence_penalty": 2.0,
        "seed": 7,
        "n": 2,
        "stop": "end",
    }
    assert chat(**known, max_tokens=3).parameters == {**known, "max_tokens": 3}


def test_null_is_as_good_as_absent():
    assert chat(temperature=None, stop=None, n=None, tools=None).parameters == {}
    assert chat(stream=None).streams is False


def test_the_newer_name_of_a_bound_wins():
    assert chat(max_completion_tokens=2, max_tokens=1).parameters == {"max_tokens": 2}
    assert response(max_output_tokens=3).parameters == {"max_tokens": 3}


def test_lists_and_objects_go_as_json_text():
    schema = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}}
    tool = {"type": "function", "function": {"name": "f", "parameters": {}}}
    found = chat(stop=["a", "b"], response_format=schema, tools=[tool], tool_choice="required")
    assert json.loads(found.parameters["stop"]) == ["a", "b"]
    assert json.loads(found.parameters["response_format"]) == schema
    assert json.loads(found.parameters["tools"]) == [tool]
    assert found.parameters["tool_choice"] == "required"


def test_the_older_forms_of_responses_become_chats():
    found = response(
        text={"format": {"type": "json_schema", "name": "a", "schema": {"type": "object"}}},
        tools=[{"type": "function", "name": "f", "parameters": {}}],
        tool_choice={"type": "function", "name": "f"},
        n=5,
    )
    assert json.loads(found.parameters["response_format"]) == {
        "type": "json_schema",
        "json_schema": {"name": "a", "schema": {"type": "object"}},
    }
    named = {"type": "function", "function": {"name": "f"}}
    assert json.loads(found.parameters["tool_choice"]) == named
    assert json.loads(found.parameters["tools"])[0]["function"] == {"name": "f", "parameters": {}}
    assert "n" not in found.parameters


def test_what_openai_does_not_know_is_passed_on_and_what_it_ignores_is_not():
    found = chat(top_k=3, cache="skip", user="me", metadata={"a": 1}, store=True, headers="x")
    assert found.parameters == {"top_k": 3, "cache": "skip"}


def test_log_probabilities():
    assert "logprobs" not in chat().parameters
    assert chat(logprobs=True).parameters == {"logprobs": 0}
    assert chat(logprobs=True, top_logprobs=5).parameters == {"logprobs": 5}
    assert "logprobs" not in chat(logprobs=False).parameters
    assert completion(logprobs=0).parameters == {"logprobs": 0}


def test_parts_of_text_are_joined_and_the_developer_is_the_system():
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    found = chat(
        messages=[
            {"role": "developer", "content": parts, "name": "me"},
            {"role": "assistant", "content": None, "tool_calls": []},
            {"role": "tool", "content": "5", "tool_call_id": "c"},
        ]
    )
    assert found.messages == [
        {"role": "system", "content": "ab", "name": "me"},
        {"role": "assistant", "content": "", "tool_calls": []},
        {"role": "tool", "content": "5", "tool_call_id": "c"},
    ]


def test_the_items_of_a_response_are_messages():
    found = response(
        instructions="be brief",
        input=[
            {"role": "user", "content": [{"type": "input_text", "text": "a"}]},
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c", "output": "5"},
        ],
    )
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    assert found.messages == [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": "5"},
    ]


@pytest.mark.parametrize(
    ("read", "fields", "param"),
    [
        (completion, {"prompt": None}, "prompt"),
        (completion, {"prompt": []}, "prompt"),
        (completion, {"prompt": [[1, 2]]}, "prompt"),
        (completion, {"logprobs": 6}, "logprobs"),
        (completion, {"logprobs": True}, "logprobs"),
        (completion, {"best_of": 3}, "best_of"),
        (completion, {"suffix": "x"}, "suffix"),
        (response, {"input": [{"type": "item_reference", "id": "x"}]}, "input[0].type"),
        (response, {"input": [{"role": "user"}]}, "input[0].content"),
        (response, {"text": "x"}, "text"),
        (response, {"text": {"format": {"type": "json_schema"}}}, "text.format.schema"),
        (response, {"background": 1}, "background"),
        (response, {"background": True, "store": False}, "store"),
        (response, {"instructions": 1}, "instructions"),
        (chat, {"temperature": float("nan")}, "temperature"),
        (chat, {"seed": 1.5}, "seed"),
        (chat, {"tool_choice": "maybe", "tools": [{}]}, "tools[0].type"),
        (chat, {"messages": [{"role": "user", "content": [{"type": "text"}]}]}, TEXT),
    ],
)
def test_what_is_wrong_is_named(read, fields, param):
    with pytest.raises(FieldError) as raised:
        read(**fields)
    assert raised.value.param == param
    assert param in str(raised.value)


def test_what_is_nested_too_deep_is_refused():
    deep = []
    for _ in range(500):
        deep = [deep]
    with pytest.raises(BadRequestError, match="nested too deep"):
        chat(tools=[{"type": "function", "function": {"name": "f", "parameters": {"a": deep}}}])
