"""Pieces, written as each route writes them."""

import json

import pytest

from mlserver_streaming.errors import DeadlineError
from mlserver_streaming.openai.answers import DONE
from mlserver_streaming.openai.ask import Ask
from mlserver_streaming.openai.chat import ChatAnswer
from mlserver_streaming.openai.completions import CompletionAnswer, as_legacy
from mlserver_streaming.openai.pieces import Piece, Usage
from mlserver_streaming.openai.responses import ResponseAnswer

ASK = Ask("m", [], [], {})
WITH_USAGE = Ask("m", [], [], {}, streams=True, wants_usage=True)
TOKEN = {"token": "a", "logprob": -1.0, "top_logprobs": [{"token": "b", "logprob": -2.0}]}
CALL = [
    {"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": ""}},
    {"index": 0, "function": {"arguments": '{"a"'}},
    {"index": 0, "function": {"arguments": ": 1}"}},
]


def events(data):
    found = []
    for event in data.decode().split("\n\n")[:-1]:
        *_, line = event.split("\n")
        found.append(json.loads(line.removeprefix("data: ")))
    return found


def test_a_chat_says_the_role_first_and_why_it_ended_last():
    answer = ChatAnswer(ASK)
    chunks = events(answer.event(Piece(0, "a")) + answer.event(Piece(0, "b", "length")))
    deltas = [(c["choices"][0]["delta"], c["choices"][0]["finish_reason"]) for c in chunks]
    assert deltas == [
        ({"role": "assistant", "content": ""}, None),
        ({"content": "a"}, None),
        ({"content": "b"}, None),
        ({}, "length"),
    ]
    assert all("usage" not in chunk for chunk in chunks)
    assert answer.end(Usage(1, 2)) == DONE


def test_all_choices_begin_in_their_order():
    answer = ChatAnswer(Ask("m", [], [], {}, choices=2))
    chunks = events(answer.event(Piece(1, "a")) + answer.event(Piece(0, "b")))
    assert [(c["choices"][0]["index"], c["choices"][0]["delta"]) for c in chunks] == [
        (0, {"role": "assistant", "content": ""}),
        (1, {"role": "assistant", "content": ""}),
        (1, {"content": "a"}),
        (0, {"content": "b"}),
    ]


def test_usage_is_a_chunk_of_its_own_before_the_end():
    answer = ChatAnswer(WITH_USAGE)
    assert events(answer.event(Piece(0, "a")))[0]["usage"] is None
    end = answer.end(Usage(1, 2, 1))
    assert end.endswith(DONE)
    (chunk,) = events(end.removesuffix(DONE))
    assert chunk["choices"] == []
    assert chunk["usage"] == {
        "prompt_tokens": 1,
        "completion_tokens": 2,
        "total_tokens": 3,
        "prompt_tokens_details": {"cached_tokens": 1},
    }
    assert answer.end(None) == DONE


def test_a_whole_chat_has_its_calls_and_log_probabilities_joined():
    answer = ChatAnswer(ASK)
    answer.add(Piece(1, "a", logprobs=[TOKEN]))
    answer.add(Piece(1, "a", "stop", logprobs=[TOKEN]))
    for call in CALL:
        answer.add(Piece(0, tool_calls=[call]))
    answer.add(Piece(0, "", "tool_calls"))
    first, second = answer.whole(None)["choices"]
    assert first["message"] == {
        "role": "assistant",
        "content": None,
        "refusal": None,
        "tool_calls": [
            {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
        ],
    }
    assert first["finish_reason"] == "tool_calls"
    assert second["message"]["content"] == "aa"
    assert second["logprobs"] == {"content": [TOKEN, TOKEN], "refusal": None}


def test_completions_have_log_probabilities_in_their_own_form():
    assert as_legacy([TOKEN, TOKEN], 4) == {
        "tokens": ["a", "a"],
        "token_logprobs": [-1.0, -1.0],
        "top_logprobs": [{"b": -2.0}, {"b": -2.0}],
        "text_offset": [4, 5],
    }
    answer = CompletionAnswer(ASK)
    answer.event(Piece(0, "xyz"))
    (chunk,) = events(answer.event(Piece(0, "a", logprobs=[TOKEN])))
    assert chunk["choices"][0]["logprobs"]["text_offset"] == [3]
    assert chunk["object"] == "text_completion"


@pytest.mark.parametrize(("reason", "status"), [("stop", "completed"), ("length", "incomplete")])
def test_a_response_is_numbered_events_that_close_what_they_open(reason, status):
    answer = ResponseAnswer(ASK)
    found = events(
        answer.begin()
        + answer.event(Piece(0, "a"))
        + answer.event(Piece(0, "b", reason))
        + answer.end(Usage(1, 2, 1))
    )
    assert [event["sequence_number"] for event in found] == list(range(len(found)))
    assert [event["type"].removeprefix("response.") for event in found] == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        status,
    ]
    last = found[-1]["response"]
    assert last["status"] == status
    assert last["output"][0]["content"][0]["text"] == "ab"
    assert last["usage"]["input_tokens_details"] == {"cached_tokens": 1}


def test_a_response_may_be_text_and_calls():
    answer = ResponseAnswer(ASK)
    answer.add(Piece(0, "a"))
    for call in CALL:
        answer.add(Piece(0, tool_calls=[call]))
    text, call = answer.whole(None)["output"]
    assert text["type"] == "message"
    assert (call["type"], call["call_id"], call["name"]) == ("function_call", "c", "f")
    assert json.loads(call["arguments"]) == {"a": 1}


def test_a_response_without_a_word_has_an_empty_text():
    assert ResponseAnswer(ASK).whole(None)["output"][0]["content"][0]["text"] == ""


@pytest.mark.parametrize("answer", [ChatAnswer, CompletionAnswer, ResponseAnswer])
def test_a_failure_is_an_error_event(answer):
    event = answer(ASK).error(DeadlineError(5)).decode()
    assert event.startswith("event: error\ndata: ")
    error = json.loads(event.partition("data: ")[2])["error"]
    assert error == {
        "message": str(DeadlineError(5)),
        "type": "server_error",
        "param": None,
        "code": "timeout",
    }
