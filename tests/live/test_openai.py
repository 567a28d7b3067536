"""OpenAI's routes as openai-python, unmodified, finds them; and curl."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.strategies import booleans
from schemathesis import GenerationMode

from clients.server_process import HOST
from tests.live.openai_service import PREFIX, client, openai_folder, user
from tests.live.rest_calls import open_gate
from tests.live.service import Service
from tests.live.warm import WarmService
from tests.live.watch import PATIENCE, closed, wait_until

TOOLS: list[Any] = [
    {
        "type": "function",
        "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}},
    }
]
EXAMPLES = 20  # made up from the OpenAPI document
AT_ONCE = {"delay": 0}  # text-model's own parameter: OpenAI's clients pass such on


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = openai_folder(tmp_path_factory.mktemp("openai") / "service")
    with WarmService(folder, folder / "server.log") as running:
        yield running


def post(service: Service, path: str, body: Any) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return httpx.post(service.url + PREFIX + path, content=content, timeout=PATIENCE)


def joined(chunks: Any) -> str:
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


# -- chat ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["language", "text-model"])
def test_a_chat_streams(service: Service, model: str) -> None:
    with client(service) as asked:
        chunks = list(
            asked.chat.completions.create(
                model=model, messages=user("one two  three"), stream=True, extra_body=AT_ONCE
            )
        )
    assert joined(chunks) == "one two  three"
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
    assert {chunk.model for chunk in chunks} == {model}
    assert len({chunk.id for chunk in chunks}) == 1
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [c.choices[0].finish_reason for c in chunks] == [None] * (len(chunks) - 1) + ["stop"]
    assert all(chunk.usage is None for chunk in chunks)


def test_usage_comes_last_where_it_is_asked_for_and_known(service: Service) -> None:
    def last(model: str) -> Any:
        with client(service) as asked:
            *_, found = asked.chat.completions.create(
                model=model,
                messages=user("one two"),
                stream=True,
                stream_options={"include_usage": True},
                extra_body=AT_ONCE,
            )
        return found

    chunk = last("language")
    assert chunk.choices == []
    assert (chunk.usage.prompt_tokens, chunk.usage.completion_tokens) == (2, 2)
    assert chunk.usage.total_tokens == 4
    assert chunk.usage.prompt_tokens_details.cached_tokens == 1
    assert last("text-model").usage is None


def test_a_chat_that_is_not_streamed(service: Service) -> None:
    with client(service) as asked:
        answer = asked.chat.completions.create(
            model="language", messages=user("a b c"), max_completion_tokens=2, max_tokens=1, n=2
        )
    assert [choice.message.content for choice in answer.choices] == ["a b", "a b"]
    assert [choice.finish_reason for choice in answer.choices] == ["length", "length"]
    assert answer.object == "chat.completion"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 2


def test_the_stream_helper(service: Service) -> None:
    with (
        client(service) as asked,
        asked.chat.completions.stream(model="language", messages=user("a b"), n=2) as stream,
    ):
        events = list(stream)
        final = stream.get_final_completion()
    assert [event.content for event in events if event.type == "content.done"] == ["a b", "a b"]
    deltas = [event.delta for event in events if event.type == "content.delta"]
    assert "".join(deltas) == "aa b b"
    assert [choice.message.content for choice in final.choices] == ["a b", "a b"]


async def test_the_async_client(service: Service) -> None:
    async with openai.AsyncOpenAI(base_url=service.url + PREFIX, api_key="none") as asked:
        stream = await asked.chat.completions.create(
            model="text-model", messages=user("a b"), stream=True, extra_body=AT_ONCE
        )
        text = [chunk.choices[0].delta.content or "" async for chunk in stream]
        async with asked.chat.completions.stream(model="language", messages=user("c")) as helped:
            final = await helped.get_final_completion()
    assert "".join(text) == "a b"
    assert final.choices[0].message.content == "c"


def test_log_probabilities(service: Service) -> None:
    with client(service) as asked:
        chat = asked.chat.completions.create(
            model="language", messages=user("a b"), logprobs=True, top_logprobs=1
        )
        old = asked.completions.create(model="language", prompt="a b", logprobs=1)
    assert chat.choices[0].logprobs is not None
    found = chat.choices[0].logprobs.content or []
    assert [(each.token, each.logprob, len(each.top_logprobs)) for each in found] == [
        ("a", -0.5, 1),
        (" b", -0.5, 1),
    ]
    legacy = old.choices[0].logprobs
    assert legacy is not None
    assert legacy.tokens == ["a", " b"]
    assert legacy.text_offset == [0, 1]
    assert legacy.top_logprobs == [{"a": -0.5}, {" b": -0.5}]


def test_tool_calls(service: Service) -> None:
    with client(service) as asked:
        whole = asked.chat.completions.create(
            model="language", messages=user("x"), tools=TOOLS, tool_choice="auto"
        )
        with asked.chat.completions.stream(
            model="language", messages=user("x"), tools=TOOLS
        ) as stream:
            kinds = {event.type for event in stream}
            streamed = stream.get_final_completion()
    assert "tool_calls.function.arguments.done" in kinds
    for choice in (whole.choices[0], streamed.choices[0]):
        assert choice.finish_reason == "tool_calls"
        assert choice.message.content is None or choice.message.content == ""
        (call,) = choice.message.tool_calls or []
        assert call.type == "function"
        assert call.function.name == "weather"
        assert json.loads(call.function.arguments) == {"city": "Paris"}


# -- completions, responses ----------------------------------------------------------------------


def test_completions(service: Service) -> None:
    with client(service) as asked:
        both = asked.completions.create(model="language", prompt=["a b", "c"], n=2)
        streamed = list(
            asked.completions.create(
                model="text-model", prompt="a b", stream=True, extra_body=AT_ONCE
            )
        )
    assert [choice.text for choice in both.choices] == ["a b", "a b", "c", "c"]
    assert both.usage is not None
    assert both.usage.completion_tokens == 3
    assert "".join(chunk.choices[0].text for chunk in streamed) == "a b"
    assert streamed[-1].choices[0].finish_reason == "stop"
    assert {chunk.object for chunk in streamed} == {"text_completion"}


def test_responses(service: Service) -> None:
    with client(service) as asked:
        whole = asked.responses.create(model="language", input="a b", instructions="be brief")
        with asked.responses.stream(model="language", input="a b") as stream:
            kinds = [event.type for event in stream]
            final = stream.get_final_response()
        cut = asked.responses.create(model="language", input=user("a b c"), max_output_tokens=2)
    for answer in (whole, final):
        assert answer.output_text == "a b"
        assert answer.status == "completed"
        assert answer.usage is not None
        assert answer.usage.total_tokens == 4
    assert kinds[0] == "response.created"
    assert kinds.count("response.output_text.delta") == 2
    assert kinds[-1] == "response.completed"
    assert (cut.status, cut.output_text) == ("incomplete", "a b")
    assert cut.incomplete_details is not None
    assert cut.incomplete_details.reason == "max_output_tokens"


def test_a_response_calls_a_function(service: Service) -> None:
    tool: Any = {"type": "function", "name": "weather", "parameters": {"type": "object"}}
    with client(service) as asked:
        with asked.responses.stream(model="language", input="x", tools=[tool]) as stream:
            kinds = {event.type for event in stream}
            (item,) = stream.get_final_response().output
        assert item.type == "function_call"
        answered = asked.responses.create(
            model="language",
            input=[
                {"role": "user", "content": "x"},
                item.model_dump(include={"type", "call_id", "name", "arguments"}),  # type: ignore[list-item]
                {"type": "function_call_output", "call_id": item.call_id, "output": "it rains"},
            ],
        )
    assert "response.function_call_arguments.done" in kinds
    assert (item.name, json.loads(item.arguments)) == ("weather", {"city": "Paris"})
    assert answered.output_text == "it rains"


# -- models --------------------------------------------------------------------------------------


def test_models(service: Service) -> None:
    with client(service) as asked:
        names = {model.id for model in asked.models.list()}
        one = asked.models.retrieve("text-model")
        with pytest.raises(openai.NotFoundError) as raised:
            asked.models.retrieve("no-model")
    assert {"language", "text-model", "speech-model"} <= names
    assert (one.id, one.object) == ("text-model", "model")
    assert raised.value.code == "model_not_found"


def test_a_stock_model_that_does_not_stream_and_whose_settings_name_its_tensors(
    service: Service,
) -> None:
    with client(service) as asked:
        chunks = asked.chat.completions.create(
            model="two-texts",
            messages=[{"role": "system", "content": "be brief"}, *user("why?")],
            stream=True,
        )
        assert joined(chunks) == "question: why?"


# -- errors --------------------------------------------------------------------------------------


def test_an_error_before_the_first_chunk_is_a_status(service: Service) -> None:
    with client(service) as asked, pytest.raises(openai.APIStatusError) as raised:
        asked.chat.completions.create(
            model="language",
            messages=user("a b"),
            stream=True,
            extra_body={"fail_at": 0, "fail_with": 503},
        )
    assert raised.value.status_code == 503
    assert "the model was told to refuse" in raised.value.message
    assert raised.value.type == "server_error"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/chat/completions", {"messages": user("a b")}),
        ("/completions", {"prompt": "a b"}),
        ("/responses", {"input": "a b"}),
    ],
)
def test_a_later_error_ends_the_stream_and_nothing_says_done(
    service: Service, path: str, body: Any
) -> None:
    refused = {"fail_at": 1, "fail_with": 503}
    answer = post(service, path, {"model": "language", "stream": True, **body, **refused})
    assert answer.status_code == 200
    *_, last, empty = answer.text.split("\n\n")
    assert empty == ""
    name, data = last.split("\n")
    assert name == "event: error"
    assert json.loads(data.removeprefix("data: "))["error"] == {
        "message": "the model was told to refuse",
        "type": "server_error",
        "param": None,
        "code": None,
    }
    with client(service) as asked, pytest.raises(openai.APIError, match="was told to refuse"):
        list(
            asked.chat.completions.create(
                model="language", messages=user("a b"), stream=True, extra_body=refused
            )
        )


def test_what_cannot_help_is_not_repeated_and_what_can_is(service: Service, tmp_path: Path) -> None:
    def repeated(error: openai.APIStatusError) -> str:
        return str(error.response.request.headers["x-stainless-retry-count"])

    busy = tmp_path / "busy"
    busy.touch()
    with client(service, max_retries=2) as asked:
        with pytest.raises(openai.InternalServerError) as none:
            asked.embeddings.create(model="text-model", input="x")
        with pytest.raises(openai.InternalServerError) as late:
            asked.chat.completions.create(
                model="text-model", messages=user("a"), extra_body={"delay": 10, "timeout": 10_000}
            )
        again = asked.chat.completions.with_raw_response.create(
            model="language", messages=user("a"), extra_body={"busy": str(busy)}
        )
    assert (none.value.status_code, repeated(none.value)) == (501, "0")
    assert (late.value.status_code, repeated(late.value)) == (504, "0")
    assert again.retries_taken == 1


BAD = {
    "messages no list": ({"messages": "hi"}, "messages"),
    "no messages": ({"messages": []}, "messages"),
    "messages missing": ({}, "messages"),
    "a message that is text": ({"messages": ["hi"]}, "messages[0]"),
    "unknown role": ({"messages": [{"role": "king", "content": "x"}]}, "messages[0].role"),
    "no role": ({"messages": [{"content": "x"}]}, "messages[0].role"),
    "no content": ({"messages": [{"role": "user"}]}, "messages[0].content"),
    "an image": (
        {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "what is this?"},
                        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}},
                    ],
                }
            ]
        },
        "messages[0].content[1]",
    ),
    "n 0": ({"messages": user("x"), "n": 0}, "n"),
    "n 1000": ({"messages": user("x"), "n": 1000}, "n"),
    "n true": ({"messages": user("x"), "n": True}, "n"),
    "temperature -1": ({"messages": user("x"), "temperature": -1}, "temperature"),
    "temperature text": ({"messages": user("x"), "temperature": "hot"}, "temperature"),
    "top_p 2": ({"messages": user("x"), "top_p": 2}, "top_p"),
    "max_tokens 0": ({"messages": user("x"), "max_tokens": 0}, "max_tokens"),
    "100 stops": ({"messages": user("x"), "stop": ["x"] * 100}, "stop"),
    "stops of numbers": ({"messages": user("x"), "stop": [1]}, "stop"),
    "stream text": ({"messages": user("x"), "stream": "yes"}, "stream"),
    "stream_options alone": ({"messages": user("x"), "stream_options": {}}, "stream_options"),
    "alternatives alone": ({"messages": user("x"), "top_logprobs": 2}, "top_logprobs"),
    "no schema": (
        {"messages": user("x"), "response_format": {"type": "json_schema", "json_schema": {}}},
        "response_format.json_schema.schema",
    ),
    "a schema that is none": (
        {
            "messages": user("x"),
            "response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "no"}}},
        },
        "response_format.json_schema.schema.type",
    ),
    "tools no list": ({"messages": user("x"), "tools": {}}, "tools"),
    "a tool without a name": (
        {"messages": user("x"), "tools": [{"type": "function", "function": {}}]},
        "tools[0].function.name",
    ),
    "model missing": ({"messages": user("x"), "model": None}, "model"),
    "model a number": ({"messages": user("x"), "model": 1}, "model"),
}


@pytest.mark.parametrize(("body", "param"), BAD.values(), ids=BAD)
def test_bad_input_is_a_sentence_that_names_the_field(
    service: Service, body: Any, param: str
) -> None:
    answer = post(service, "/chat/completions", {"model": "language", **body})
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["param"] == param
    assert error["type"] == "invalid_request_error"
    assert f"'{param}'" in error["message"]


@pytest.mark.parametrize(
    ("path", "body", "status", "said"),
    [
        ("/chat/completions", b"{", 400, "not JSON"),
        ("/chat/completions", b"[]", 400, "JSON object"),
        ("/chat/completions", b"", 400, "empty"),
        ("/chat/completions", {"model": "no", "messages": user("x")}, 404, "no model 'no'"),
        ("/chat/completions", {"model": "motion", "messages": user("x")}, 501, "no text"),
        ("/chat/completions", {"model": "speech-model", "messages": user("x")}, 400, "sound"),
        ("/chat/completions", {"model": "text-model", "messages": user("x"), "n": 2}, 400, "'n'"),
        ("/chat/completions", {"model": "language", "prompt": [0] * 200_000}, 400, "numbers"),
        ("/completions", {"model": "language", "prompt": [1, 2, 3]}, 400, "'prompt'"),
        ("/completions", {"model": "language", "prompt": ["x"] * 1000}, 400, "'prompt'"),
        ("/completions", {"model": "language", "prompt": "x", "echo": True}, 400, "'echo'"),
        ("/responses", {"model": "language", "input": []}, 400, "'input'"),
        (
            "/responses",
            {"model": "language", "input": "x", "previous_response_id": "resp_1"},
            400,
            "whole conversation",
        ),
        ("/audio/transcriptions", {"model": "speech-model"}, 400, "multipart/form-data"),
        ("/nothing", {}, 404, "/v1/nothing"),
    ],
)
def test_other_bad_input(service: Service, path: str, body: Any, status: int, said: str) -> None:
    answer = post(service, path, body)
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert said in error["message"]
    assert set(error) == {"message", "type", "param", "code"}


def test_refusals_of_http_have_the_form_too(service: Service) -> None:
    with httpx.Client(base_url=service.url + PREFIX) as http:
        wrong_method = http.delete("/models")
        coded = http.post("/completions", content=b"x", headers={"content-encoding": "br"})
    assert (wrong_method.status_code, coded.status_code) == (405, 415)
    assert "DELETE" in wrong_method.json()["error"]["message"]
    assert "br" in coded.json()["error"]["message"]


def test_unknown_fields_are_taken(service: Service) -> None:
    odd = {"user": "me", "metadata": {"a": "b"}, "top_k": 3, "min_p": None, "new": [1, {}]}
    body = {"model": "language", "messages": user("x"), **odd}
    assert post(service, "/chat/completions", body).status_code == 200


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_every_answer_is_a_documented_one(service: Service, mode: GenerationMode) -> None:
    url = f"{PREFIX}/chat/completions"
    document = httpx.get(f"{service.url}/v2/docs/dataplane.json").json()
    operation = schemathesis.openapi.from_dict(document)[url]["POST"]
    documented = document["paths"][url]["post"]["responses"]

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode), known=booleans())
    def ask(case: schemathesis.Case, known: bool) -> None:
        if isinstance(case.body, dict):
            case.body |= {"model": "text-model", "delay": 0} if known else {}
        answer = case.call(base_url=service.url, timeout=PATIENCE)
        assert answer.status_code != 500, answer.text
        assert str(answer.status_code) in documented
        if answer.status_code != 200:
            assert set(answer.json()["error"]) == {"message", "type", "param", "code"}

    ask()


# -- connections that are cut --------------------------------------------------------------------


def test_a_response_in_the_background(service: Service, tmp_path: Path) -> None:
    trace, gate = tmp_path / "trace", tmp_path / "gate"
    told = {"path": str(trace), "gate": str(gate)}
    with client(service) as asked:
        made = asked.responses.create(
            model="language", input="one two three", background=True, extra_body=told
        )
        assert (made.background, made.error) == (True, None)
        assert made.status in ("queued", "in_progress")
        reading = iter(asked.responses.retrieve(made.id, stream=True))
        events = [next(reading) for _ in range(6)]
        assert events[-1].type == "response.output_text.delta"
        found = asked.responses.retrieve(made.id)
        assert (found.status, found.output_text) == ("in_progress", "one")
        [item] = asked.responses.input_items.list(made.id)
        assert item.content[0].text == "one two three"
        open_gate(gate, 1)
        open_gate(gate, 2)
        open_gate(gate, 3)
        rest = asked.responses.retrieve(made.id, stream=True, starting_after=5)
        events += list(rest)
        assert [event.sequence_number for event in events] == list(range(len(events)))
        assert events[-1].type == "response.completed"
        found = asked.responses.retrieve(made.id)
        assert (found.status, found.output_text) == ("completed", "one two three")
        assert found == events[-1].response
        assert asked.responses.cancel(made.id) == found
        with pytest.raises(openai.BadRequestError, match="starting_after"):
            asked.responses.retrieve(made.id, stream=True, starting_after=len(events))
        asked.responses.delete(made.id)
        with pytest.raises(openai.NotFoundError, match="You have no response"):
            asked.responses.retrieve(made.id)


def test_a_response_in_the_background_is_cancelled(service: Service, tmp_path: Path) -> None:
    trace, gate = tmp_path / "trace", tmp_path / "gate"
    with client(service) as asked:
        stream = asked.responses.create(
            model="language",
            input="one two",
            background=True,
            stream=True,
            extra_body={"path": str(trace), "gate": str(gate)},
        )
        reading = iter(stream)
        first = next(reading)
        assert first.type == "response.created"
        # Until then the model may not have been asked, and has nothing to close.
        while next(reading).type != "response.output_text.delta":
            pass
        found = [asked.responses.cancel(first.response.id) for _ in range(2)]
        assert [each.status for each in found] == ["cancelled"] * 2
        asyncio.run(wait_until(lambda: closed(trace)))
        with pytest.raises(openai.APIError, match="cancelled by its caller"):
            list(reading)


def test_a_chat_is_read_on(service: Service) -> None:
    asking: dict[str, Any] = {"model": "language", "messages": user("one two three")}
    wish = {"resumable": True}
    with client(service) as asked:
        streams = asked.chat.completions.with_streaming_response
        with streams.create(**asking, stream=True, extra_body=wish) as begun:
            lines = begun.iter_lines()
            ids = [next(lines) for _ in range(6)][::3]
        assert ids[0].startswith("id: ")
        place = {"Last-Event-ID": ids[1].removeprefix("id: ")}
        rest = asked.chat.completions.create(
            **asking, stream=True, extra_body=wish, extra_headers=place
        )
        assert joined(rest) == " two three"


# -- hang-ups ------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/chat/completions", "/audio/transcriptions"])
def test_a_hang_up_amid_the_body_leaves_no_trace(service: Service, path: str) -> None:
    head = (
        f"POST {PREFIX}{path} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n"
        "Content-Type: multipart/form-data; boundary=x\r\n\r\n{"
    )
    with socket.create_connection((HOST, service.http), PATIENCE) as connection:
        connection.sendall(head.encode())
    body = {"model": "language", "messages": user("a")}
    assert post(service, "/chat/completions", body).status_code == 200
    assert "Traceback" not in service.log.read_text()


@pytest.mark.parametrize("streams", [True, False])
async def test_a_hang_up_before_anything_was_answered_ends_the_work(
    service: Service, tmp_path: Path, streams: bool
) -> None:
    trace = tmp_path / "trace"
    async with openai.AsyncOpenAI(base_url=service.url + PREFIX, api_key="none") as asked:
        creating: Any = asked.chat.completions.create(
            model="language",
            messages=user("a b"),
            stream=streams,
            extra_body={"path": str(trace), "held": True},
        )
        waiting = asyncio.ensure_future(creating)
        await wait_until(trace.exists)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    await wait_until(lambda: closed(trace))


async def test_a_hang_up_amid_the_stream_ends_the_work(service: Service, tmp_path: Path) -> None:
    trace, gate = tmp_path / "trace", tmp_path / "gate"
    async with openai.AsyncOpenAI(base_url=service.url + PREFIX, api_key="none") as asked:
        stream = await asked.chat.completions.create(
            model="language",
            messages=user("a b c"),
            stream=True,
            extra_body={"path": str(trace), "gate": str(gate)},
        )
        seen = ""
        async for chunk in stream:
            seen += chunk.choices[0].delta.content or ""
            if seen == "a":
                open_gate(gate, 1)
            if seen == "a b":
                break
        await stream.close()
    await wait_until(lambda: closed(trace))
    assert trace.read_text().splitlines() == ["asked", "word 0", "word 1", "closed"]


@pytest.mark.parametrize("path", ["/v2/models/text-model/generate_stream", "/v1/chat/completions"])
def test_a_hang_up_is_no_fault(service: Service, path: str) -> None:
    # The log has a line of each stream, and no traceback.
    before = service.log.read_text().count("reason=client_disconnect")
    said: dict[str, Any] = {"model": "text-model", "stream": True, "messages": user("a b c " * 20)}
    if path.startswith("/v2"):
        said = {"text_input": "a b c " * 20}
    with (
        httpx.Client(timeout=PATIENCE) as asked,
        asked.stream("POST", service.url + path, json={**said, "delay": 0.2}) as answer,
    ):
        next(answer.iter_lines())

    def over() -> bool:
        return service.log.read_text().count("reason=client_disconnect") > before

    asyncio.run(wait_until(over))
    # What would be logged of it comes before the next answer.
    assert httpx.get(f"{service.url}/v2/health/live").status_code == 200
    assert "Traceback" not in service.log.read_text()


# -- curl ----------------------------------------------------------------------------------------


def test_curl(service: Service) -> None:
    body = {"model": "text-model", "stream": True, "delay": 0, "messages": user("a b")}
    url = f"{service.url}{PREFIX}/chat/completions"
    command = ["curl", "-sN", url, "-H", "Content-Type: application/json", "-d", json.dumps(body)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=PATIENCE)
    *events, last, empty = done.stdout.split("\n\n")
    assert (last, empty) == ("data: [DONE]", "")
    texts = [json.loads(event.removeprefix("data: "))["choices"][0]["delta"] for event in events]
    assert "".join(text.get("content", "") for text in texts) == "a b"
