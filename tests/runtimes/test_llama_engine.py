"""llama.cpp with the weights that `make` installs, in this process."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest
import pytest_asyncio

from mlserver_streaming.models.errors import RequestError
from runtimes.language.engine import Piece, Usage
from runtimes.language.engines import make_engine
from runtimes.language.generation import Generation, read_generation
from runtimes.language.handover import Handover
from runtimes.language.llama_engine import LlamaEngine
from tests.runtimes.asking import ask
from tests.runtimes.language_fakes import BOUNDS, generation, needs_language

# One loop, as in a service.
pytestmark = [needs_language, pytest.mark.asyncio(loop_scope="module")]
SETTINGS = {"context": 256, "slots": 4, "threads": 1, "batch": 32}
TALE = "Once upon a time"  # which it goes on with for long
MANY = 10_000


def opened(**settings: Any) -> LlamaEngine:
    settings = SETTINGS | settings
    engine = make_engine("m", lambda name, default: settings.get(name, default), None)
    assert isinstance(engine, LlamaEngine)
    return engine


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine() -> AsyncIterator[LlamaEngine]:
    engine = opened()
    await engine.load()
    yield engine
    await engine.close()


async def pieces(engine: LlamaEngine, asked: Generation) -> list[Piece | Usage]:
    return [piece async for piece in engine.generate(asked)]


async def rounds() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def text(engine: LlamaEngine, asked: Generation) -> str:
    found = await pieces(engine, asked)
    return "".join(piece.text for piece in found if isinstance(piece, Piece))


def chat(question: str, **parameters: Any) -> Generation:
    messages = [
        {"role": "system", "content": "You answer questions briefly and correctly."},
        {"role": "user", "content": question},
    ]
    return generation(json.dumps(messages), "messages", temperature=0, **parameters)


def tale(**parameters: Any) -> Generation:
    return generation(TALE, "prompt", **{"temperature": 0, "max_tokens": 16, **parameters})


async def test_it_answers_a_question(engine: LlamaEngine) -> None:
    *told, usage = await pieces(engine, chat("What is the capital of France?"))
    assert "".join(piece.text for piece in told) == "The capital of France is Paris."
    assert told[-1] == Piece(finish_reason="stop")
    assert isinstance(usage, Usage)
    assert usage.prompt_tokens > 20 and usage.completion_tokens == len(told)


async def test_the_same_text_alone_and_beside_others(engine: LlamaEngine) -> None:
    asked = [
        tale(),
        chat("Name three fruits.", max_tokens=16),
        tale(max_tokens=8),
        chat("Hello", max_tokens=8),
    ]
    alone = [await text(engine, each) for each in asked]
    assert await asyncio.gather(*(text(engine, each) for each in asked)) == alone


async def test_a_seed_gives_the_same_text_again(engine: LlamaEngine) -> None:
    first, again, other = [
        await text(engine, tale(temperature=1.5, seed=seed)) for seed in (7, 7, 8)
    ]
    assert first == again != other


async def test_stop_ends_before_the_text(engine: LlamaEngine) -> None:
    whole = await text(engine, tale())
    word = whole.split()[3]
    found = await pieces(engine, tale(stop=[word]))
    assert "".join(p.text for p in found if isinstance(p, Piece)) == whole[: whole.index(word)]
    assert found[-2].finish_reason == "stop"  # type: ignore[union-attr]


async def test_n_choices_each_with_its_end_and_their_tokens_together(engine: LlamaEngine) -> None:
    *told, usage = await pieces(engine, tale(n=3, temperature=1, max_tokens=5))
    assert {p.choice for p in told if isinstance(p, Piece)} == {0, 1, 2}
    assert [p.finish_reason for p in told if p.finish_reason] == ["length"] * 3  # type: ignore[union-attr]
    assert isinstance(usage, Usage) and usage.completion_tokens == 15


@pytest.mark.parametrize("asked", [tale, lambda **more: chat("Hello", **more)])
async def test_logprobs_of_every_token(engine: LlamaEngine, asked: Any) -> None:
    *told, _ = await pieces(engine, asked(logprobs=2, max_tokens=4))
    found = [each for piece in told for each in piece.logprobs or ()]  # type: ignore[union-attr]
    assert len(found) == 4
    for each in found:
        assert each["logprob"] <= 0 and len(each["top_logprobs"]) == 2
        # At temperature 0 the likeliest is taken.
        assert each["top_logprobs"][0]["token"] == each["token"]
    *told, _ = await pieces(engine, asked(logprobs=0, max_tokens=1))
    (only,) = [each for piece in told for each in piece.logprobs or ()]  # type: ignore[union-attr]
    assert only["top_logprobs"] == []


async def test_a_schema_is_kept_to(engine: LlamaEngine) -> None:
    schema = {
        "type": "object",
        "properties": {"age": {"type": "integer", "maximum": 9}},
        "required": ["age"],
        "additionalProperties": False,
    }
    wanted = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
    asked = chat("Describe a person", response_format=wanted, max_tokens=64)
    found = json.loads(await text(engine, asked))
    assert list(found) == ["age"] and found["age"] <= 9


async def test_what_it_refuses_is_one_sentence(engine: LlamaEngine) -> None:
    schema = {"type": "json_schema", "json_schema": {"schema": {"type": "nope"}}}
    with pytest.raises(RequestError, match="nope") as caught:
        await pieces(engine, chat("Hello", response_format=schema))
    assert "\n" not in str(caught.value)
    with pytest.raises(RequestError, match="has 602 tokens; the model takes 256 tokens"):
        await pieces(engine, generation("word " * 600 + "a b", "prompt"))


async def test_the_end_of_the_context_is_an_end_by_length(engine: LlamaEngine) -> None:
    counted = ", ".join(map(str, range(60)))
    asked = generation(counted, "prompt", temperature=0, max_tokens=MANY)
    *_, end, usage = await pieces(engine, asked)
    assert isinstance(end, Piece) and end.finish_reason == "length"
    assert isinstance(usage, Usage)
    assert usage.prompt_tokens + usage.completion_tokens <= SETTINGS["context"] + 1


async def test_streams_that_are_closed_leave_their_slots(engine: LlamaEngine) -> None:
    for asked in (tale(max_tokens=MANY), tale(n=4)):
        streams = [engine.generate(asked) for _ in range(4 // asked.n)]
        for stream in streams:
            await anext(stream)
        for stream in streams:
            await stream.aclose()
        assert await text(engine, tale(max_tokens=2))


async def test_closed_while_it_reads_the_prompt(engine: LlamaEngine) -> None:
    streams = [
        asyncio.create_task(text(engine, generation(f"{n} " + "word " * 100, "prompt")))
        for n in range(4)
    ]
    await rounds()  # into their threads
    for stream in streams:
        stream.cancel()
    await asyncio.wait(streams)
    assert await text(engine, tale(max_tokens=2))


async def test_what_a_callback_raises_is_told(
    engine: LlamaEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def put(self: Handover, item: Any) -> None:
        raise KeyError("lost")

    with monkeypatch.context() as broken:
        broken.setattr(Handover, "put", put)
        with pytest.raises(KeyError, match="lost"):
            await pieces(engine, tale())
    assert await text(engine, tale(max_tokens=2))


async def test_closing_it_ends_its_streams_and_threads() -> None:
    others = set(threading.enumerate())
    engine = opened(slots=1)
    await engine.load()
    stream = engine.generate(tale(max_tokens=MANY))
    async with aclosing(stream):
        await anext(stream)
        await engine.close()
        with pytest.raises(Exception, match="being unloaded"):
            async for _ in stream:
                pass
    assert not [each.name for each in set(threading.enumerate()) - others if "llama" in each.name]


async def test_own_settings_are_checked() -> None:
    with pytest.raises(ValueError, match="'llama' settings have no wings"):
        await opened(llama={"wings": 2}).load()


async def test_bounds_are_read_from_it() -> None:
    engine = opened(slots=3)
    assert (engine.context, engine.choices) == (256, 3)
    with pytest.raises(RequestError, match="from 1 to 4"):
        read_generation(ask("prompt", ["x"], n=5), BOUNDS)
