"""The three routes for text: how their bodies are read and their answers written. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ..errors import RequestFailedError
from .answers import Answer
from .ask import Ask, read_chat, read_completion, read_response
from .chat import ChatAnswer
from .completions import CompletionAnswer
from .fields import Fields
from .responses import ResponseAnswer

RESPONSES = "/responses"
# What a model calls otherwise than the route `responses` does.
OF_RESPONSES = {
    "messages": "input",
    "max_tokens": "max_output_tokens",
    "response_format": "text.format",
}


@dataclass(frozen=True, slots=True)
class TextForm:
    """
    Attributes:
        path: the route's, behind the prefix.
        fields: its own names of what a model says is wrong.
    """

    path: str
    read: Callable[[Fields], Ask]
    answer: Callable[[Ask], Answer]
    fields: Mapping[str, str] = field(default_factory=dict)

    def name(self, error: RequestFailedError) -> None:
        """Have an error name the field as this route does."""
        name = (error.param or "").partition("[")[0]
        error.param = self.fields.get(name, error.param)


FORMS = {
    form.path: form
    for form in (
        TextForm("/chat/completions", read_chat, ChatAnswer),
        TextForm("/completions", read_completion, CompletionAnswer),
        TextForm(RESPONSES, read_response, ResponseAnswer, OF_RESPONSES),
    )
}
