"""A language model that says again what it was told, word by word, and keeps to what docs/openai.md
asks of language models.

Request parameters beside those: `path` (a file that gets a line when it is asked, for each word,
and when the stream is closed), `gate` (word n, but the first, waits until there is a file of this
name with n behind it), `held` (the first word waits for ever), `fail_at` (refuse there, with the
status `fail_with`), `busy` (a file: where it is there it is removed, and the request refused).
"""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Iterator

from mlserver import MLModel
from mlserver.codecs import StringCodec
from mlserver.errors import MLServerError
from mlserver.types import InferenceRequest, InferenceResponse, Parameters


class Language(MLModel):
    async def predict_stream(
        self, payloads: AsyncIterator[InferenceRequest]
    ) -> AsyncIterator[InferenceResponse]:
        async for request in payloads:
            wanted = request.parameters.model_extra or {}
            busy = wanted.get("busy")
            if busy and exists(busy):
                os.remove(busy)
                raise MLServerError("As many wait as may; try again in a moment.", 429)
            note(wanted, "asked")
            try:
                for step, (text, said) in enumerate(self._answer(request, wanted)):
                    if "held" in wanted:
                        await asyncio.Event().wait()
                    if step and "gate" in wanted:
                        while not exists(f"{wanted['gate']}{step}"):  # noqa: ASYNC110
                            await asyncio.sleep(0.002)
                    if wanted.get("fail_at") == step:
                        raise MLServerError("the model was told to refuse", wanted["fail_with"])
                    note(wanted, f"word {step}")
                    yield InferenceResponse(
                        model_name=self.name,
                        parameters=Parameters(**said),
                        outputs=[StringCodec.encode_output("text_output", [text])],
                    )
            finally:
                note(wanted, "closed")

    def _answer(
        self, request: InferenceRequest, wanted: dict[str, object]
    ) -> Iterator[tuple[str, dict[str, object]]]:
        (tensor,) = request.inputs
        (told,) = StringCodec.decode_input(tensor)
        if tensor.name == "messages":
            told = json.loads(told)[-1]["content"]
        words = told.split(" ")
        most = min(len(words), wanted.get("max_tokens", len(words)))
        usage = {"prompt_tokens": len(words), "completion_tokens": most, "cached_tokens": 1}
        if "tools" in wanted:
            name = json.loads(wanted["tools"])[0]["function"]["name"]
            head = {"name": name, "arguments": ""}
            call = {"index": 0, "id": "call_1", "type": "function", "function": head}
            yield "", {"tool_calls": json.dumps([call])}
            for part in ('{"city": ', '"Paris"}'):
                yield (
                    "",
                    {"tool_calls": json.dumps([{"index": 0, "function": {"arguments": part}}])},
                )
            yield "", {"finish_reason": "tool_calls", **usage}
            return
        choices = range(wanted.get("n", 1))[::-1]  # as engines do, in any order
        for number, word in enumerate(words[:most]):
            text = f" {word}" if number else word
            token = {"token": text, "logprob": -0.5, "bytes": list(text.encode())}
            others = [{"token": text, "logprob": -0.5, "bytes": None}]
            said = {"top_logprobs": others[: wanted.get("logprobs", 0)]}
            for choice in choices:
                known = {"logprobs": json.dumps([token | said])} if "logprobs" in wanted else {}
                yield text, {"choice": choice, **known}
        reason = "stop" if most == len(words) else "length"
        for choice in choices:
            last = usage if choice == choices[-1] else {}
            yield "", {"choice": choice, "finish_reason": reason, **last}


def exists(path: str) -> bool:
    return os.path.exists(path)


def note(wanted: dict[str, object], line: str) -> None:
    if path := wanted.get("path"):
        with open(path, "a", encoding="utf-8") as file:
            file.write(line + "\n")
