"""What a model answers, response by response, in pieces that every text route can write. Pure."""

from __future__ import annotations

import codecs
from dataclasses import dataclass
from typing import Any

import orjson
from mlserver.types import InferenceResponse, TensorData

from ..errors import UnsupportedError
from ..tensors.json_codec import datatype
from ..tensors.raw import BYTES, flat

STOP = "stop"


@dataclass(slots=True)
class Piece:
    """A piece of one of the answers.

    Attributes:
        choice: of which.
        finish_reason: on the last piece of each.
        logprobs: as chat has them, a list.
        tool_calls: as chat's deltas have them.
    """

    choice: int
    text: str = ""
    finish_reason: str | None = None
    logprobs: list[Any] | None = None
    tool_calls: list[dict[str, Any]] | None = None


@dataclass(slots=True)
class Usage:
    """How many tokens there were, in all that was asked."""

    prompt: int = 0
    completion: int = 0
    cached: int = 0

    def chat(self) -> dict[str, Any]:
        return {
            "prompt_tokens": self.prompt,
            "completion_tokens": self.completion,
            "total_tokens": self.prompt + self.completion,
            "prompt_tokens_details": {"cached_tokens": self.cached},
        }


class PieceReader:
    """Reads the responses to one request.

    Attributes:
        usage: what the model said of tokens; None where it says nothing.
    """

    def __init__(self, output: str | None, first: int = 0):
        """
        Args:
            output: the one with the text; None for the first of datatype BYTES.
            first: the number of this request's first answer among all.
        """
        self.usage: Usage | None = None
        self._output = output
        self._first = first
        # A character may be cut in two by the border of two responses.
        self._decoders: dict[int, codecs.IncrementalDecoder] = {}
        self._ended: set[int] = set()

    def read(self, response: InferenceResponse) -> Piece:
        """
        Raises:
            UnsupportedError: there is no text in it.
        """
        said = (response.parameters and response.parameters.model_extra) or {}
        choice = self._first + int(said.get("choice") or 0)
        reason = said.get("finish_reason")
        if "completion_tokens" in said:
            self.usage = Usage(
                int(said.get("prompt_tokens") or 0),
                int(said["completion_tokens"] or 0),
                int(said.get("cached_tokens") or 0),
            )
        piece = Piece(choice, self._text(response, choice), reason)
        if said.get("logprobs"):
            piece.logprobs = orjson.loads(said["logprobs"])
        if said.get("tool_calls"):
            piece.tool_calls = orjson.loads(said["tool_calls"])
        if reason is not None:
            self._ended.add(choice)
        return piece

    def rest(self) -> list[Piece]:
        """The last pieces of answers that ended by the stream's end."""
        begun = self._decoders or {self._first: _decoder()}
        return [
            Piece(choice, decoder.decode(b"", True), STOP)
            for choice, decoder in begun.items()
            if choice not in self._ended
        ]

    def _text(self, response: InferenceResponse, choice: int) -> str:
        decoder = self._decoders.get(choice)
        if decoder is None:
            decoder = self._decoders[choice] = _decoder()
        for output in response.outputs:
            if output.name == self._output if self._output else datatype(output) == BYTES:
                data = output.data.root if isinstance(output.data, TensorData) else output.data
                return "".join(
                    decoder.decode(each) if isinstance(each, bytes) else str(each)
                    for each in flat(data)
                )
        if response.outputs:
            wanted = f"output '{self._output}'" if self._output else "output of datatype BYTES"
            raise UnsupportedError(f"Model '{response.model_name}' answered without any {wanted}.")
        return ""


def _decoder() -> codecs.IncrementalDecoder:
    return codecs.getincrementaldecoder("utf-8")("replace")


def added(usage: Usage | None, more: Usage | None) -> Usage | None:
    """The tokens of two requests."""
    if usage is None or more is None:
        return usage or more
    return Usage(
        usage.prompt + more.prompt,
        usage.completion + more.completion,
        usage.cached + more.cached,
    )
