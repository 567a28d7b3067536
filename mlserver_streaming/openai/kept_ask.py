"""What is kept of a request beside what its model answers, to write the same events again. Pure.

It stands in the stream's head (resume/head.py), so that another instance can write them, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from .ask import Ask
from .input_items import KEPT_BYTES
from .text_form import FORMS, TextForm

KEPT = "openai"
# Of the parameters, what an answer says again.
SAID_AGAIN = ("temperature", "top_p", "max_tokens")


@dataclass(frozen=True, slots=True)
class KeptAsk:
    """
    Attributes:
        output: the model's, with the text; None for its first of datatype BYTES.
    """

    form: TextForm
    ask: Ask
    output: str | None

    def packed(self) -> dict[str, Any]:
        """As the form of a head: it has one in JSON."""
        ask = self.ask
        return {
            KEPT: {
                "path": self.form.path,
                "output": self.output,
                "model": ask.model,
                "parameters": {n: ask.parameters[n] for n in SAID_AGAIN if n in ask.parameters},
                "choices": ask.choices,
                "wants_usage": ask.wants_usage,
                "background": ask.background,
                "input": ask.input if _is_small(ask.input) else None,
                "id": ask.id,
                "created": ask.created,
            }
        }

    @classmethod
    def of(cls, form: Mapping[str, Any]) -> KeptAsk | None:
        """What the form of a head says; None where the stream did not begin at these routes."""
        kept = form.get(KEPT)
        if kept is None:
            return None
        named = {**kept, "messages": None, "prompts": [], "streams": True}
        path, output = named.pop("path"), named.pop("output")
        return cls(FORMS[path], Ask(**named), output)


def _is_small(given: Any) -> bool:
    """Whether an input may be kept."""
    return given is not None and len(orjson.dumps(given)) <= KEPT_BYTES
