"""The flat form of `generate`: text in, text out, no tensors to spell out.

https://docs.nvidia.com/deeplearning/triton-inference-server/user-guide/docs/protocol/extension_generate.html
    {"text_input": "...", "parameters": {...}}  ->  {"model_name", "model_version", "text_output"}

- `text_input` goes to the model's input of that name, or to its only BYTES input.
- Another key, at the top or among the parameters, that is named like an input is that input; the
  rest are request parameters. A single value is a tensor of one element.
- One string asked is answered with one string: the text of all responses, joined. A list is
  answered with a list.
- `text_output` is the model's output of that name, or its first BYTES output. Other outputs stand
  beside it under their names, and so do a response's parameters: `error` is one of them.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import orjson
from mlserver.types import InferenceResponse, MetadataTensor, ResponseOutput, TensorData

from ..errors import BadRequestError
from ..tensors.json_codec import DUMPS, as_json, datatype, is_large, text_elements
from ..tensors.json_responses import written_numbers, written_string, written_text
from ..tensors.raw import BYTES, flat
from ..tensors.steps import OBJECTS, Steps, gathered

TEXT_INPUT, TEXT_OUTPUT = "text_input", "text_output"
TEXT = "str"  # the content_type that says so


def is_flat(parsed: dict[str, Any]) -> bool:
    """Whether a parsed body is in the flat form: an InferenceRequest always has inputs."""
    return "inputs" not in parsed


def unflatten(parsed: dict[str, Any], declared: Iterable[MetadataTensor]) -> dict[str, Any]:
    """The InferenceRequest, as a parsed body, that a flat body stands for.

    Args:
        declared: the model's inputs. A model that declares none gets a BYTES tensor `text_input`.

    Raises:
        BadRequestError: it has no input for the model, or one of them twice.
    """
    inputs = {tensor.name: (str(tensor.datatype), len(tensor.shape)) for tensor in declared}
    inputs = inputs or {TEXT_INPUT: (BYTES, 1)}
    parameters = parsed.get("parameters")
    if parameters is None:
        parameters = {}
    if not isinstance(parameters, dict):
        raise BadRequestError("Field 'parameters' must be an object of names and values.")
    rest: dict[str, Any] = {}
    tensors: dict[str, Any] = {}
    for name, value in [*parsed.items(), *parameters.items()]:
        if name in ("id", "parameters"):
            continue
        target = _text_input(inputs) if name == TEXT_INPUT else name
        if target not in inputs:
            rest[name] = value
        elif target in tensors:
            raise BadRequestError(f"Input '{target}' is there twice; send it once.")
        else:
            tensors[target] = _tensor(target, *inputs[target], value)
    if not tensors:
        raise BadRequestError(
            f"The request has neither '{TEXT_INPUT}' nor a list of 'inputs'; this model takes "
            f"{_list(inputs)}."
        )
    found = {"inputs": list(tensors.values()), "parameters": rest}
    return found | ({"id": parsed["id"]} if parsed.get("id") is not None else {})


def _text_input(inputs: dict[str, tuple[str, int]]) -> str:
    texts = [name for name, (kind, _) in inputs.items() if kind == BYTES]
    if TEXT_INPUT in inputs:
        return TEXT_INPUT
    if len(texts) != 1:
        raise BadRequestError(
            f"This model has no input that '{TEXT_INPUT}' could stand for; it takes "
            f"{_list(inputs)}."
        )
    return texts[0]


def _tensor(name: str, kind: str, dimensions: int, value: Any) -> dict[str, Any]:
    shape = [1] * max(1, dimensions)
    if isinstance(value, list):
        shape = []
        row: Any = value
        while isinstance(row, list):
            shape.append(len(row))
            row = row[0] if row else None
    parameters = {"content_type": TEXT} if kind == BYTES else {}
    return {
        "name": name,
        "shape": shape,
        "datatype": kind,
        "parameters": parameters,
        "data": value,
    }


def _list(inputs: dict[str, tuple[str, int]]) -> str:
    return ", ".join(f"'{name}' ({kind})" for name, (kind, _) in inputs.items())


@dataclass(frozen=True, slots=True)
class FlatAnswers:
    """How the responses to one flat request are written."""

    with_id: bool
    one_text: bool

    @classmethod
    def to(cls, unflattened: dict[str, Any]) -> "FlatAnswers":
        """Answers as a request asks for them: with the id that it has, in its form of text."""
        texts = [tensor["data"] for tensor in unflattened["inputs"] if tensor["datatype"] == BYTES]
        return cls(
            with_id="id" in unflattened,
            one_text=not any(isinstance(text, list) for text in texts),
        )

    def with_ids(self) -> "FlatAnswers":
        """The same, each with its id: for several requests on one connection."""
        return self if self.with_id else replace(self, with_id=True)

    def encode(self, response: InferenceResponse) -> bytes | None:
        """One response as compact JSON; None where that takes too long, and `written` is for it."""
        return None if is_large(response) else self.at_once(response)

    def at_once(self, response: InferenceResponse) -> bytes:
        """One response as compact JSON."""
        found: dict[str, Any] = {
            "model_name": response.model_name,
            "model_version": response.model_version or "",
        }
        if self.with_id:
            found["id"] = response.id
        text = _text_output(response)
        for output in response.outputs:
            data = output.data.root if isinstance(output.data, TensorData) else output.data
            if output is text:
                found[TEXT_OUTPUT] = self._short_text(data)
                continue
            values = text_elements(flat(data))[0] if datatype(output) == BYTES else flat(data)
            found.setdefault(output.name, values[0] if len(values) == 1 else values)
        if response.parameters is not None:
            # Headers are not among them: this form has no place for Ce-*.
            for name, value in (response.parameters.model_extra or {}).items():
                found.setdefault(name, value)
        return orjson.dumps(found, option=DUMPS, default=as_json)

    def _short_text(self, data: Any) -> Any:
        if not self.one_text:
            return text_elements(flat(data))[0]
        # Joined as bytes: a character may be cut in two by the border of two elements.
        parts = [part.encode() if isinstance(part, str) else part for part in flat(data)]
        return text_elements([b"".join(parts)])[0][0]

    def written(self, response: InferenceResponse) -> Steps[list[bytes]]:
        """One response as compact JSON, in parts."""
        found: dict[str, Any] = {
            "model_name": response.model_name,
            "model_version": response.model_version or "",
        }
        if self.with_id:
            found["id"] = response.id
        text = _text_output(response)
        long: dict[str, list[bytes]] = {}
        for output in response.outputs:
            data = output.data.root if isinstance(output.data, TensorData) else output.data
            if output is text:
                long[TEXT_OUTPUT] = yield from self._text(flat(data))
            elif output.name not in found and output.name not in long:
                values = data if isinstance(data, np.ndarray) else flat(data)
                long[output.name] = yield from _values(values, datatype(output))
        if response.parameters is not None:
            # Headers are not among them: this form has no place for Ce-*.
            for name, value in (response.parameters.model_extra or {}).items():
                if name not in long:
                    found.setdefault(name, value)
        parts = [orjson.dumps(found, option=DUMPS, default=as_json).removesuffix(b"}")]
        for name, content in long.items():
            parts += (b",%b:" % orjson.dumps(name), *content)
        return [*parts, b"}"]

    def _text(self, elements: list[Any]) -> Steps[list[bytes]]:
        if not self.one_text:
            return (yield from written_text(elements))[0]
        # Joined as bytes: a character may be cut in two by the border of two elements.
        parts = []
        for at in range(0, len(elements), OBJECTS):
            some = elements[at : at + OBJECTS]
            parts.append(b"".join([e.encode() if isinstance(e, str) else e for e in some]))
            yield
        joined = yield from gathered(parts)
        try:
            return (yield from written_string(joined))
        except UnicodeDecodeError:
            return (yield from written_string(joined, as_base64=True))


def _values(values: Any, kind: str) -> Steps[list[bytes]]:
    """An output that is not the text: a single value, or all in a list."""
    if kind == BYTES:
        parts, _ = yield from written_text(flat(values))
    else:
        values = values.reshape(-1) if isinstance(values, np.ndarray) else values
        parts = yield from written_numbers(values)
    return [b"".join(parts)[1:-1]] if len(values) == 1 else parts


def _text_output(response: InferenceResponse) -> ResponseOutput | None:
    texts = [output for output in response.outputs if datatype(output) == BYTES]
    named = [output for output in texts if output.name == TEXT_OUTPUT]
    return next(iter(named or texts), None)
