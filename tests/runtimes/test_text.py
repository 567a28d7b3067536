"""TextModel, as a client of a stream sees it."""

import asyncio
import base64
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from runtimes.text import TextModel, words
from tests.runtimes.asking import answers, ask, element, error_of, settings_of


async def text_model(**extra: Any) -> TextModel:
    model = TextModel(settings_of("text-model", **{"delay": 0, **extra}))
    await model.load()
    return model


@given(st.text())
@example("")
@example(" ")
@example("  two  spaces  ")
@example("a line\nand\r\n another\ttab ")
@example("naïve 🦊 \u0000 \u2028 \u00a0end")
def test_words_joined_are_the_prompt(prompt: str) -> None:
    assert "".join(words(prompt)) == prompt


@given(st.text(st.characters(exclude_categories=["Cs"])))
@example("")
async def test_streamed_responses_joined_are_the_prompt_byte_for_byte(prompt: str) -> None:
    model = await text_model()
    got = [element(response) for response in await answers(model, ask("prompt", [prompt]))]
    assert "".join(got).encode() == prompt.encode()


def test_every_word_but_the_first_brings_its_space() -> None:
    assert list(words("What is the capital of France?")) == [
        "What",
        " is",
        " the",
        " capital",
        " of",
        " France?",
    ]


async def test_a_response_is_one_output_of_one_element() -> None:
    response, *_ = await answers(await text_model(), ask("prompt", ["one two"], id="seven"))
    assert (response.model_name, response.id) == ("text-model", "seven")
    (output,) = response.outputs
    assert (output.name, output.datatype, output.shape) == ("output", "BYTES", [1])
    assert response.parameters is None


@pytest.mark.parametrize(
    ("data", "content_type"),
    [
        (["naïve word"], None),
        (["naïve word"], "str"),
        (["naïve word".encode()], None),
        ([base64.b64encode("naïve word".encode()).decode()], "base64"),
        ([base64.b64encode("naïve word".encode())], "base64"),
    ],
    ids=["str", "str announced", "raw bytes", "base64 text", "base64 bytes"],
)
async def test_a_prompt_comes_in_any_form(data: list[Any], content_type: str | None) -> None:
    request = ask("prompt", data, content_type=content_type)
    got = await answers(await text_model(), request)
    assert [element(response) for response in got] == ["naïve", " word"]


async def test_several_prompts_stream_one_after_another_with_their_index() -> None:
    got = await answers(await text_model(), ask("prompt", ["a b", "", "c"]))
    assert [
        (response.parameters.model_extra["prompt_index"], element(response)) for response in got
    ] == [
        (0, "a"),
        (0, " b"),
        (1, ""),
        (2, "c"),
    ]


async def test_no_prompts_are_answered_with_nothing() -> None:
    assert await answers(await text_model(), ask("prompt", [])) == []


async def test_requests_of_a_stream_are_answered_in_order_with_their_ids() -> None:
    model = await text_model()
    got = await answers(model, ask("prompt", ["a b"], id="1"), ask("prompt", ["c"], id="2"))
    assert [(response.id, element(response)) for response in got] == [
        ("1", "a"),
        ("1", " b"),
        ("2", "c"),
    ]


@pytest.mark.parametrize("delay", [0, 0.0, "0", "0.0", "0e0", -0.0])
async def test_a_request_sets_its_delay_as_number_or_text(delay: Any) -> None:
    model = await text_model(delay=3600)
    async with asyncio.timeout(5):  # an hour a word if the parameter were not taken
        got = await answers(model, ask("prompt", ["a b"], delay=delay))
    assert [element(response) for response in got] == ["a", " b"]


@pytest.mark.parametrize("delay", [0.02, "0.02"])
async def test_the_delay_comes_before_each_word(delay: Any) -> None:
    clock = asyncio.get_running_loop().time
    before = clock()
    await answers(await text_model(), ask("prompt", ["a b"], delay=delay))
    assert clock() - before >= 0.035


@pytest.mark.parametrize(
    "delay",
    [
        -1,
        -1e-09,
        10.5,
        1000000000.0,
        "1e9",
        "-1",
        "nan",
        "inf",
        "-Infinity",
        float("nan"),
        float("inf"),
        True,
        False,
        "",
        "fast",
        "0,5",
        [1],
        {"seconds": 1},
        10**400,
        "9" * 5000,
    ],
    ids=lambda value: repr(value)[:20],
)
async def test_an_impossible_delay_fails_its_request_alone(delay: Any) -> None:
    model = await text_model()
    refused, *answered = await answers(
        model, ask("prompt", ["a b"], id="bad", delay=delay), ask("prompt", ["c"], id="good")
    )
    status, sentence = error_of(refused)
    assert (refused.id, status) == ("bad", 400)
    assert sentence.startswith("Parameter 'delay' must be a number from 0 to 10, not ")
    assert len(sentence) < 200
    assert [(response.id, element(response)) for response in answered] == [("good", "c")]


@pytest.mark.parametrize("data", [[b"caf\xe9"], [b"good", b"\xff\xd8\xff"]])
async def test_text_that_is_not_utf8_is_422_and_says_so(data: list[bytes]) -> None:
    (refused,) = await answers(await text_model(), ask("prompt", data))
    status, sentence = error_of(refused)
    assert status == 422
    assert "not UTF-8" in sentence
    assert f"Element {len(data) - 1} of input 'prompt'" in sentence


async def test_base64_of_text_that_is_not_utf8_is_422() -> None:
    data = [base64.b64encode(b"caf\xe9").decode()]
    (refused,) = await answers(await text_model(), ask("prompt", data, content_type="base64"))
    assert error_of(refused)[0] == 422


async def test_garbage_in_base64_is_422() -> None:
    (refused,) = await answers(
        await text_model(), ask("prompt", ["not*base64"], content_type="base64")
    )
    status, sentence = error_of(refused)
    assert status == 422
    assert "base64" in sentence


async def test_a_lone_surrogate_is_422() -> None:
    """JSON can carry one; UTF-8 cannot."""
    (refused,) = await answers(await text_model(), ask("prompt", ["\ud800"]))
    assert error_of(refused)[0] == 422


@pytest.mark.parametrize("data", [[1], [None], [True], [1.5], [{"a": 1}]])
async def test_a_prompt_that_is_no_text_is_400(data: list[Any]) -> None:
    (refused,) = await answers(await text_model(), ask("prompt", data))
    assert error_of(refused)[0] == 400


async def test_a_delay_without_a_setting_is_half_a_second() -> None:
    settings = settings_of("text-model")
    assert settings.parameters.extra["delay"] == 0.5
    assert settings.versions == ["text-model/v1.2.3"]
    assert settings.platform == "mlserver"


async def test_a_stream_without_requests_has_no_responses() -> None:
    assert await answers(await text_model()) == []


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=3))
async def test_it_goes_on_behind_any_response(prompts: list[str]) -> None:
    model = await text_model()
    request = ask("prompt", prompts)
    whole = [
        (element(each), each.parameters and each.parameters.model_extra)
        for each in await answers(model, request)
    ]
    for said in range(len(whole) + 1):
        rest = [
            (element(each), each.parameters and each.parameters.model_extra)
            async for each in model.resume_from(request, [None] * said)
        ]
        assert rest == whole[said:]
