"""In which form a request is answered: the one that it came in."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from mlserver.types import InferenceResponse

from ..rest.binary import BinaryOutputs
from ..rest.generate import FlatAnswers
from ..rest.kept_streams import answers_of, form_of
from ..rest.websocket_messages import Binary, Message
from ..tensors.json_codec import encode_unless_large, is_large
from ..tensors.json_responses import written
from ..tensors.raw import Buffer
from ..tensors.steps import Steps, finish, gathered

# Before the JSON of a binary message: its length.
LENGTH = struct.Struct("<I")


class Form(Protocol):
    """How a response becomes a message."""

    def at_once(self, response: InferenceResponse) -> Message | None:
        """None where it is large."""

    def parts(self, response: InferenceResponse) -> Steps[list[Buffer]]:
        """The same in parts, which take turns."""

    def message(self, whole: bytes) -> Message:
        """All its parts as a message."""

    def kept(self) -> dict[str, Any]:
        """It in JSON's terms, for the head of a stream that can be resumed."""


class Text:
    """JSON as the protocol has it."""

    at_once = staticmethod(encode_unless_large)

    def parts(self, response: InferenceResponse) -> Steps[list[Buffer]]:
        return [*(yield from written(response))]

    def message(self, whole: bytes) -> Message:
        return whole

    def kept(self) -> dict[str, Any]:
        return {}


TEXT = Text()


@dataclass(frozen=True, slots=True)
class Flat:
    """JSON in the form of `generate`."""

    answers: FlatAnswers

    def at_once(self, response: InferenceResponse) -> Message | None:
        return self.answers.encode(response)

    def parts(self, response: InferenceResponse) -> Steps[list[Buffer]]:
        return [*(yield from self.answers.written(response))]

    def message(self, whole: bytes) -> Message:
        return whole

    def kept(self) -> dict[str, Any]:
        return form_of(self.answers)


# For what fails before it is understood.
FLAT = Flat(FlatAnswers(with_id=True, one_text=True))


@dataclass(frozen=True, slots=True)
class Raw:
    """The length of the JSON, the JSON, and the bytes of the tensors that are wanted so."""

    outputs: BinaryOutputs

    def at_once(self, response: InferenceResponse) -> Message | None:
        if is_large(response):
            return None
        return self.message(finish(gathered(finish(self.parts(response)))))

    def parts(self, response: InferenceResponse) -> Steps[list[Buffer]]:
        parts, json_length = yield from self.outputs.written(response)
        return [LENGTH.pack(json_length), *parts]

    def message(self, whole: bytes) -> Message:
        return Binary(whole)

    def kept(self) -> dict[str, Any]:
        return {"binary": self.outputs.all, "binary_outputs": self.outputs.named}


def form_kept(kept: Mapping[str, Any]) -> Form:
    """The form that a stream's head has; as JSON where it began on a wire with others."""
    if "binary_outputs" in kept:
        return Raw(BinaryOutputs(bool(kept.get("binary")), dict(kept["binary_outputs"])))
    answers = answers_of(kept)
    return Flat(answers.with_ids()) if isinstance(answers, FlatAnswers) else TEXT
