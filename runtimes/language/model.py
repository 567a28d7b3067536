"""LanguageModel: messages or a prompt in, the answer out as it is written.

What an engine needs is an extra of this project (`language`) and weights. Where they are not
installed the service starts all the same, and this model says what is missing.
"""

import json
from collections.abc import AsyncGenerator, AsyncIterator
from collections.abc import Sequence as TypeSequence
from contextlib import aclosing
from dataclasses import asdict, dataclass, field
from typing import Any

from mlserver.logging import logger
from mlserver.types import InferenceRequest, InferenceResponse
from mlserver.utils import get_model_uri

from mlserver_streaming.extras import MissingExtraError, needed_by
from mlserver_streaming.models.errors import MLServerError
from mlserver_streaming.models.sequences import Sequence
from mlserver_streaming.models.streaming_model import StreamingModel
from mlserver_streaming.models.tensors import TEXT, bytes_output

from .continuation import continued
from .engine import NotInstalledError, Piece, Usage
from .engines import make_engine
from .generation import Bounds, Generation, read_generation


@dataclass(slots=True)
class Whole:
    """The pieces of one choice together."""

    texts: list[str] = field(default_factory=list)
    finish_reason: str | None = None
    logprobs: list[dict[str, Any]] = field(default_factory=list)
    tool_calls: list[dict[str, Any]] = field(default_factory=list)

    def add(self, piece: Piece) -> None:
        self.texts.append(piece.text)
        self.finish_reason = piece.finish_reason or self.finish_reason
        self.logprobs += piece.logprobs or ()
        self.tool_calls += piece.tool_calls or ()


class LanguageModel(StreamingModel):
    """Writes text.

    One of the inputs, BYTES [1]: `messages`, the JSON text of OpenAI's list of messages;
    `text_input`, one user's message; `prompt`, text that is continued as it is. Output
    `text_output` BYTES [1], the next piece of the answer: joined, they are the answer.

    Request parameters: `max_tokens`, `temperature`, `top_p`, `frequency_penalty`,
    `presence_penalty`, `seed`, `n`, `stop`, `logprobs`, `response_format`, `tools`, `tool_choice`
    (generation.py has what they may be).

    Response parameters: `choice` (which of `n`; absent is 0), `finish_reason` (`stop`, `length` or
    `tool_calls`) on the last response of each choice, `logprobs` and `tool_calls` (JSON text), and
    on the last response of all `prompt_tokens`, `completion_tokens`, `cached_tokens`.

    A unary answer has `text_output` BYTES [n] and the same parameters, `choice` aside; where `n` is
    more than 1, each of `finish_reason`, `logprobs` and `tool_calls` is the JSON text of a list,
    one element a choice.

    Settings: `engine` and its own (see engines.py); `system` (the system message of messages that
    bring none), and what a request that says nothing gets of `max_tokens` (256), `temperature`
    (1), `top_p` (1).
    """

    async def load(self) -> bool:
        self._missing = ""
        try:
            with needed_by(f"Model '{self.name}'", "language"):
                named = self.settings.parameters and self.settings.parameters.uri
                uri = await get_model_uri(self.settings) if named else None
                self._engine = make_engine(self.name, self.setting, uri)
        except (MissingExtraError, NotInstalledError) as error:
            self._missing = str(error)
            logger.warning("%s", error)
            return True
        usual = Bounds(self._engine.context, self._engine.choices)
        self._bounds = Bounds(
            usual.context,
            usual.choices,
            system=str(self.setting("system", usual.system)),
            max_tokens=int(self.setting("max_tokens", usual.max_tokens)),
            temperature=float(self.setting("temperature", usual.temperature)),
            top_p=float(self.setting("top_p", usual.top_p)),
        )
        await self._engine.load()
        return True

    async def unload(self) -> bool:
        await super().unload()
        if not self._missing:
            await self._engine.close()
        return True

    def check(self, request: InferenceRequest) -> None:
        if self._missing:
            raise MLServerError(self._missing, 501)
        super().check(request)

    async def respond(
        self,
        request: InferenceRequest,
        sequence: Sequence | None,
        generation: Generation | None = None,
    ) -> AsyncGenerator[InferenceResponse, None]:
        if generation is None:
            generation = read_generation(request, self._bounds)
        last: Piece | None = None  # a choice's last: it waits, since it may be the stream's
        usage: Usage | None = None
        async with aclosing(self._engine.generate(generation)) as pieces:
            async for piece in pieces:
                if isinstance(piece, Usage):
                    usage = piece
                    continue
                if last is not None:
                    yield self._piece(request, last)
                last = piece if piece.finish_reason else None
                if last is None:
                    yield self._piece(request, piece)
        yield self._piece(request, last or Piece(), usage)

    async def resume_from(
        self, request: InferenceRequest, responses: TypeSequence[InferenceResponse]
    ) -> AsyncIterator[InferenceResponse]:
        """The rest of the answer, written behind the text so far as behind any other."""
        self.check(request)
        generation = read_generation(request, self._bounds)
        if (rest := continued(generation, responses)) is None:
            return
        if not rest.max_tokens:
            yield self._piece(request, Piece(finish_reason="length"))
            return
        async with aclosing(self.respond(request, None, rest)) as written:
            async for response in written:
                yield response

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """All of it in one response."""
        visit = self.enter(payload)
        try:
            generation = read_generation(payload, self._bounds)
            whole = [Whole() for _ in range(generation.n)]
            said: dict[str, Any] = {}
            async with aclosing(self._engine.generate(generation)) as pieces:
                async for piece in pieces:
                    if isinstance(piece, Usage):
                        said = asdict(piece)
                    else:
                        whole[piece.choice].add(piece)
        finally:
            self.leave(visit)
        for name in ("finish_reason", "logprobs", "tool_calls"):
            found = [getattr(each, name) for each in whole]
            if any(found):
                alone = found[0] if name == "finish_reason" else json.dumps(found[0])
                said[name] = alone if len(found) == 1 else json.dumps(found)
        texts = ["".join(each.texts) for each in whole]
        return self.response(payload, [bytes_output("text_output", texts, TEXT)], **said)

    def _piece(
        self, request: InferenceRequest, piece: Piece, usage: Usage | None = None
    ) -> InferenceResponse:
        said: dict[str, Any] = {} if usage is None else asdict(usage)
        if piece.choice:
            said["choice"] = piece.choice
        if piece.finish_reason:
            said["finish_reason"] = piece.finish_reason
        if piece.logprobs is not None:
            said["logprobs"] = json.dumps(piece.logprobs)
        if piece.tool_calls is not None:
            said["tool_calls"] = json.dumps(piece.tool_calls)
        return self.text_response(request, "text_output", piece.text, **said)
