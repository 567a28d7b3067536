"""From what is asked to the V2 requests that ask a model for it.

A model that takes conversations declares an input `messages`; any other gets text. What goes where
is plain unless a model has several BYTES inputs of other names: then its settings say so, in
`parameters.extra`: {"openai": {"input": "...", "output": "..."}}.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mlserver import MLModel
from mlserver.types import (
    Datatype,
    InferenceRequest,
    Parameters,
    RequestInput,
    RequestOutput,
    TensorData,
)

from ..audio.samples import Pcm
from ..errors import BadRequestError, UnsupportedError, shown
from ..models.messages import request_input
from .ask import Ask
from .errors import FieldError
from .messages import last_words
from .sampling import as_text

MESSAGES, AUDIO = "messages", "audio"
TEXT_INPUTS = ("prompt", "text_input")
BYTES = "BYTES"
TEXT = "str"  # the content type that says so


@dataclass(frozen=True, slots=True)
class Tensors:
    """A model's BYTES inputs and outputs, and which of them its settings name.

    Attributes:
        inputs, outputs: as it declares them; None where it declares none at all.
    """

    model: str
    inputs: list[str] | None
    outputs: list[str] | None
    input: str | None
    output: str | None

    @classmethod
    def of(cls, model: MLModel) -> Tensors:
        parameters = model.settings.parameters
        found = ((parameters and parameters.extra) or {}).get("openai")
        named = found if isinstance(found, dict) else {}
        return cls(
            model.name,
            _texts(model.inputs),
            _texts(model.outputs),
            named.get("input"),
            named.get("output"),
        )

    @property
    def takes_messages(self) -> bool:
        return MESSAGES in (self.inputs or ())

    def text_input(self, *names: str) -> str:
        """The input for a text.

        Args:
            names: that it may have, the best first.

        Raises:
            BadRequestError: there is none.
        """
        if self.input is not None:
            return self.input
        if self.inputs is None:
            return TEXT_INPUTS[-1]
        for name in names:
            if name in self.inputs:
                return name
        if len(self.inputs) == 1 and self.inputs != [AUDIO]:
            return self.inputs[0]
        if self.inputs == [AUDIO]:
            why = "it takes sound; ask for a transcription"
        elif self.inputs:
            why = f"of its inputs {self._list(self.inputs)} its settings name none for it (openai)"
        else:
            why = "none of its inputs is BYTES"
        raise BadRequestError(f"Model '{self.model}' cannot be sent text: {why}.")

    def audio_input(self) -> str:
        """The input for a recording.

        Raises:
            BadRequestError: there is none.
        """
        if AUDIO in (self.inputs or ()):
            return AUDIO
        if self.input is not None and not self.takes_messages:
            return self.input
        raise BadRequestError(
            f"Model '{self.model}' hears nothing: it has no input '{AUDIO}', and its settings name "
            "none for it (openai)."
        )

    def check_output(self) -> None:
        """
        Raises:
            UnsupportedError: it declares outputs, and none of them is text.
        """
        if self.outputs == [] and self.output is None:
            raise UnsupportedError(
                f"Model '{self.model}' answers no text: none of its outputs is BYTES."
            )

    @staticmethod
    def _list(names: list[str]) -> str:
        return shown(", ".join(f"'{name}'" for name in names))


def _texts(declared: Any) -> list[str] | None:
    if not declared:
        return None
    return [tensor.name for tensor in declared if str(tensor.datatype) == BYTES]


def text_payloads(ask: Ask, tensors: Tensors) -> list[InferenceRequest]:
    """The requests for a conversation, or one for each prompt.

    Raises:
        FieldError: a model that takes no conversations is asked for what it would not notice.
        BadRequestError, UnsupportedError: it takes no text, or answers none.
    """
    tensors.check_output()
    if ask.language_only and not tensors.takes_messages:
        field = ask.language_only[0]
        raise FieldError(
            f"Model '{tensors.model}' is no language model, and knows no '{field}'; leave it out.",
            field,
        )
    if ask.messages is None:
        name = tensors.text_input(*TEXT_INPUTS)
        return [_request(name, prompt, ask.parameters, TEXT) for prompt in ask.prompts]
    if tensors.takes_messages and tensors.input in (None, MESSAGES):
        return [_request(MESSAGES, as_text(ask.messages), ask.parameters, TEXT)]
    name = tensors.text_input(*reversed(TEXT_INPUTS))
    return [_request(name, last_words(ask.messages), ask.parameters, TEXT)]


def audio_payload(
    file: bytes, tensors: Tensors, parameters: dict[str, Any], outputs: list[str]
) -> InferenceRequest:
    """The request for a recording's words.

    Args:
        outputs: what is wanted; the model's choice where there are none.
    """
    tensors.check_output()
    request = _request(tensors.audio_input(), file, parameters, None)
    request.outputs = [RequestOutput(name=name) for name in outputs] or None
    return request


def sound_payload(samples: Pcm, tensors: Tensors, parameters: dict[str, Any]) -> InferenceRequest:
    """The request for the words in the next of a recording's samples."""
    tensor = request_input(tensors.audio_input(), "INT16", [len(samples)], samples, None)
    return InferenceRequest(inputs=[tensor], parameters=Parameters(**parameters))


def _request(
    name: str, element: str | bytes, parameters: dict[str, Any], content_type: str | None
) -> InferenceRequest:
    described = Parameters(content_type=content_type) if content_type else None
    tensor = RequestInput(
        name=name,
        shape=[1],
        datatype=Datatype.BYTES,
        parameters=described,
        # An instance: pydantic would look at each element.
        data=TensorData.model_construct(root=[element]),
    )
    return InferenceRequest(inputs=[tensor], parameters=Parameters(**parameters))
