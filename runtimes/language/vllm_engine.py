"""vLLM inside this process (AsyncLLM), for GPUs.

Written to vLLM's API (v1, `vllm.v1.engine.async_llm`) and tested against a stand-in of it; it has
not been run on a GPU.
"""

import asyncio
import inspect
import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from mlserver_streaming.models.errors import RequestError

from .engine import NotInstalledError, Piece, Usage
from .generation import Generation, too_long
from .slots import Slots


class VllmEngine:
    """One model of Hugging Face's form. What an answer's stream is not taken fast enough, vLLM
    joins."""

    def __init__(self, name: str, args: dict[str, Any], context: int, slots: Slots):
        """
        Args:
            args: AsyncEngineArgs by their names; `model` is one of them.
        """
        try:
            import vllm
            from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams
            from vllm.v1.engine.async_llm import AsyncLLM
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] != "vllm":
                raise
            raise NotInstalledError(
                f"Model '{name}' needs vLLM, and a GPU: pip install vllm, and start again"
            ) from error
        self._vllm, self._llm_class = vllm, AsyncLLM
        self._delta, self._structured = RequestOutputKind.DELTA, StructuredOutputsParams
        self.context, self.choices = context, slots.count
        self._args = {"max_model_len": context, "max_num_seqs": slots.count, **args}
        self._slots = slots
        self._llm: Any = None
        self._tokenizer: Any = None

    async def load(self) -> None:
        # Here, not in a thread: it starts its tasks on the loop that runs.
        self._llm = self._llm_class.from_engine_args(self._vllm.AsyncEngineArgs(**self._args))
        found = self._llm.get_tokenizer()  # a coroutine's in some versions
        self._tokenizer = await found if inspect.isawaitable(found) else found

    async def close(self) -> None:
        llm, self._llm = self._llm, None
        if llm is not None:
            await asyncio.to_thread(llm.shutdown)

    async def generate(self, generation: Generation) -> AsyncGenerator[Piece | Usage, None]:
        if generation.tools is not None and generation.tool_choice not in (None, "auto", "none"):
            raise RequestError(
                "The engine 'vllm' cannot be made to call a tool: leave tool_choice.",
                param="tool_choice",
            )
        await self._slots.take(generation.n)
        try:
            ids = await asyncio.to_thread(self._tokens, generation)
            if len(ids) >= self.context:
                raise too_long(len(ids), self.context, generation.input)
            # Closing it aborts the request.
            outputs = self._llm.generate(
                {"prompt_token_ids": ids}, self._sampling(generation, len(ids)), uuid.uuid4().hex
            )
            written, cached = 0, 0
            async with aclosing(outputs):
                async for output in outputs:
                    cached = output.num_cached_tokens or cached
                    for choice in output.outputs:
                        written += len(choice.token_ids)
                        yield _piece(choice, generation.logprobs)
            yield Usage(len(ids), written, cached)
        except ValueError as error:  # how it refuses a request
            raise RequestError(f"The model refuses the request: {error}") from error
        finally:
            self._slots.give_back(generation.n)

    def _tokens(self, generation: Generation) -> list[int]:
        if generation.messages is None:
            return list(self._tokenizer.encode(generation.prompt))
        wanted = None if generation.tool_choice == "none" else generation.tools
        text = self._tokenizer.apply_chat_template(
            generation.messages,
            tools=wanted,
            tokenize=False,
            add_generation_prompt=not generation.continues,
            continue_final_message=generation.continues,
        )
        # The template has written the special tokens.
        return list(self._tokenizer.encode(text, add_special_tokens=False))

    def _sampling(self, generation: Generation, prompt_tokens: int) -> Any:
        wanted = generation.response_format
        structured = None
        if wanted is not None and wanted["type"] == "json_schema":
            structured = self._structured(json=wanted["json_schema"]["schema"])
        elif wanted is not None:
            structured = self._structured(json_object=True)
        return self._vllm.SamplingParams(
            n=generation.n,
            max_tokens=min(generation.max_tokens, self.context - prompt_tokens),
            temperature=generation.temperature,
            top_p=generation.top_p or 1e-6,  # it takes no 0
            frequency_penalty=generation.frequency_penalty,
            presence_penalty=generation.presence_penalty,
            seed=generation.seed,
            stop=list(generation.stop),
            logprobs=generation.logprobs,
            structured_outputs=structured,
            output_kind=self._delta,
        )


def _piece(choice: Any, logprobs: int | None) -> Piece:
    found = None
    if logprobs is not None and choice.logprobs is not None:
        found = [
            _logprob(token, known, logprobs)
            for token, known in zip(choice.token_ids, choice.logprobs, strict=True)
        ]
    return Piece(choice.text, choice.index, choice.finish_reason, found)


def _logprob(token: int, known: dict[int, Any], alternatives: int) -> dict[str, Any]:
    """vLLM gives the token and its alternatives together, by their numbers."""
    ranked = sorted(known.values(), key=lambda each: each.rank)
    return _token(known[token]) | {"top_logprobs": [_token(each) for each in ranked[:alternatives]]}


def _token(known: Any) -> dict[str, Any]:
    text = known.decoded_token or ""
    # JSON has no infinity.
    return {"token": text, "logprob": max(known.logprob, -9999.0), "bytes": list(text.encode())}
