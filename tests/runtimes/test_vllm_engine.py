"""The vLLM engine against a stand-in with the names of vLLM's API. No GPU, and no vLLM, is here."""

import sys
from collections.abc import AsyncGenerator
from enum import Enum
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from mlserver_streaming.models.errors import RequestError
from runtimes.language.engine import Piece, Usage
from runtimes.language.engines import make_engine
from runtimes.language.vllm_engine import VllmEngine
from tests.runtimes.language_fakes import generation


class Kind(Enum):
    DELTA = 1


class Tokenizer:
    def apply_chat_template(
        self,
        messages: list[Any],
        *,
        tools: Any,
        tokenize: bool,
        add_generation_prompt: bool,
        continue_final_message: bool,
    ) -> str:
        assert add_generation_prompt != continue_final_message
        return " ".join(message["content"] for message in messages)

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        return [0] * add_special_tokens + list(range(len(text.split())))


class Llm:
    """Says the words of `says`, one an output; what it is asked is kept."""

    says = ("Pa", "ris")

    def __init__(self, args: Any):
        self.args, self.open, self.aborted = args, True, 0

    @classmethod
    def from_engine_args(cls, args: Any) -> "Llm":
        return cls(args)

    async def get_tokenizer(self) -> Tokenizer:
        return Tokenizer()

    def shutdown(self) -> None:
        self.open = False

    async def generate(
        self, prompt: Any, sampling_params: Any, request_id: str
    ) -> AsyncGenerator[Any, None]:
        self.asked = prompt, sampling_params
        if sampling_params.temperature == 2:
            raise ValueError("too hot")
        try:
            for number, word in enumerate(self.says):
                last = number == len(self.says) - 1
                known = SimpleNamespace(decoded_token=word, logprob=float("-inf"), rank=2)
                best = SimpleNamespace(decoded_token="Ly", logprob=-0.5, rank=1)
                output = SimpleNamespace(
                    index=0,
                    text=word,
                    token_ids=[7],
                    logprobs=None if sampling_params.logprobs is None else [{7: known, 8: best}],
                    finish_reason="stop" if last else None,
                )
                yield SimpleNamespace(outputs=[output], num_cached_tokens=1)
        except GeneratorExit:
            self.aborted += 1
            raise


@pytest.fixture
async def engine(monkeypatch: pytest.MonkeyPatch) -> VllmEngine:
    names: dict[str, dict[str, Any]] = {
        "vllm": {"AsyncEngineArgs": SimpleNamespace, "SamplingParams": SimpleNamespace},
        "vllm.sampling_params": {
            "RequestOutputKind": Kind,
            "StructuredOutputsParams": SimpleNamespace,
        },
        "vllm.v1": {},
        "vllm.v1.engine": {},
        "vllm.v1.engine.async_llm": {"AsyncLLM": Llm},
    }
    for name, inside in names.items():
        module = ModuleType(name)
        vars(module).update(inside)
        monkeypatch.setitem(sys.modules, name, module)
    settings = {"engine": "vllm", "context": 64, "slots": 2, "vllm": {"dtype": "bfloat16"}}
    engine = make_engine("m", lambda name, default: settings.get(name, default), "some/model")
    assert isinstance(engine, VllmEngine)
    await engine.load()
    return engine


async def told(engine: VllmEngine, *given: str, **parameters: Any) -> list[Piece | Usage]:
    return [piece async for piece in engine.generate(generation(*given, **parameters))]


async def test_it_is_made_of_the_settings(engine: VllmEngine) -> None:
    llm = engine._llm
    assert vars(llm.args) == {
        "model": "some/model",
        "dtype": "bfloat16",
        "max_model_len": 64,
        "max_num_seqs": 2,
    }
    await engine.close()
    assert not llm.open


async def test_pieces_and_what_was_used(engine: VllmEngine) -> None:
    assert await told(engine, "What is it?", max_tokens=500, seed=7, stop="x") == [
        Piece("Pa"),
        Piece("ris", finish_reason="stop"),
        Usage(3, 2, 1),
    ]
    prompt, sampling = engine._llm.asked
    assert prompt == {"prompt_token_ids": [0, 1, 2]}
    assert (sampling.max_tokens, sampling.seed, sampling.stop) == (61, 7, ["x"])
    assert sampling.output_kind is Kind.DELTA and sampling.structured_outputs is None


async def test_a_prompt_is_continued_as_it_is(engine: VllmEngine) -> None:
    await told(engine, "once upon", "prompt")
    assert engine._llm.asked[0] == {"prompt_token_ids": [0, 0, 1]}


async def test_a_schema_and_logprobs(engine: VllmEngine) -> None:
    schema = {"type": "json_schema", "json_schema": {"schema": {"type": "string"}}}
    piece, *_ = await told(engine, "What?", response_format=schema, logprobs=1)
    assert engine._llm.asked[1].structured_outputs.json == {"type": "string"}
    assert isinstance(piece, Piece)
    assert piece.logprobs == [
        {
            "token": "Pa",
            "logprob": -9999.0,
            "bytes": [80, 97],
            "top_logprobs": [{"token": "Ly", "logprob": -0.5, "bytes": [76, 121]}],
        }
    ]


async def test_what_cannot_be_answered_is_one_sentence(engine: VllmEngine) -> None:
    with pytest.raises(RequestError, match="has 70 tokens; the model takes 64 tokens"):
        await told(engine, "word " * 70)
    with pytest.raises(RequestError, match="refuses the request: too hot"):
        await told(engine, "What?", temperature=2)
    tool = {"type": "function", "function": {"name": "f"}}
    with pytest.raises(RequestError, match="cannot be made to call a tool"):
        await told(engine, "What?", tools=[tool], tool_choice="required")


async def test_closing_a_stream_aborts_it_and_frees_its_slot(engine: VllmEngine) -> None:
    for _ in range(3):
        stream = engine.generate(generation("What?", n=2))
        await anext(stream)
        await stream.aclose()
    assert engine._llm.aborted == 3
    assert await told(engine, "What?")
