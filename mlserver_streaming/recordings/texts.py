"""Responses in a row that are one text each and else alike, as tokens come.

Only the texts are held; each response is made anew for whoever asks for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, overload

import orjson
from mlserver.types import InferenceResponse, Parameters, ResponseOutput, TensorData

from ..models.messages import output as output_of
from ..models.messages import response as response_of
from ..tensors.json_codec import datatype
from .recorded import data_of, said_by

# What Python holds for a text, beside its characters.
TEXT_BYTES = 64
# The form of texts that the model gave as such, and of those that it gave as bytes.
TEXT, BYTES = "text", "bytes"


class Like(NamedTuple):
    """What is the same for all of them.

    Attributes:
        name, datatype, shape: of the one output.
        label: its content type.
        kind: what the model gave its text as.
    """

    model_name: str
    model_version: str | None
    name: str
    datatype: Any
    shape: list[int]
    label: str | None
    kind: type[str] | type[bytes]

    def response(
        self, text: str, id: str | None, said: dict[str, Any] | None = None
    ) -> InferenceResponse:
        data = [text if self.kind is str else text.encode()]
        output = output_of(self.name, self.datatype, [*self.shape], data, self.label)
        parameters = None if said is None else Parameters(**said)
        return response_of(self.model_name, self.model_version, id, [output], parameters)


class Texts(Sequence[InferenceResponse]):
    """
    Attributes:
        like: what they have in common.
        texts: of each response.
        said: the parameters of those that have any, by their index.
        id: of all, where `ids` is None.
        ids: of each.
    """

    __slots__ = ("id", "ids", "like", "said", "texts")

    def __init__(
        self,
        like: Like,
        id: str | None,
        texts: list[str] | None = None,
        said: dict[int, dict[str, Any]] | None = None,
        ids: list[str | None] | None = None,
    ) -> None:
        self.like = like
        self.id = id
        self.ids = ids
        self.texts: list[str] = [] if texts is None else texts
        self.said = {} if said is None else said

    @classmethod
    def like_it(cls, response: InferenceResponse) -> Texts | None:
        """None yet, to be like a response that is one text; None where it is not."""
        outputs = response.outputs
        if len(outputs) != 1:
            return None
        output, data = outputs[0], data_of(outputs[0])
        kind: Any = type(data[0]) if type(data) is list and len(data) == 1 else None
        if kind is not str and kind is not bytes:
            return None
        said = output.parameters
        label = None if said is None else said.content_type
        name, version, shape = response.model_name, response.model_version, [*output.shape]
        return cls(
            Like(name, version, output.name, datatype(output), shape, label, kind), response.id
        )

    def take(self, response: InferenceResponse) -> int | None:
        """Hold one more, if it is like the others; then the length of its text."""
        name, version, tensor, kind, shape, label, form = self.like
        outputs = response.outputs
        if len(outputs) != 1 or response.model_name != name or response.model_version != version:
            return None
        output = outputs[0]
        if output.name != tensor or output.shape != shape or output.datatype != kind:
            return None
        described = output.parameters
        if described is None:
            if label is not None:
                return None
        elif (
            described.content_type != label
            or described.headers is not None
            or described.__pydantic_extra__
        ):
            return None
        data: Any = output.data
        if type(data) is TensorData:
            data = data.root
        if type(data) is not list or len(data) != 1:
            return None
        text = data[0]
        if type(text) is not form:
            return None
        if isinstance(text, bytes):
            try:
                text = text.decode()
            except UnicodeDecodeError:
                return None
        said = response.parameters
        if said is not None and (own := said_by(said)) is not None:
            self.said[len(self.texts)] = own
        if self.ids is not None:
            self.ids.append(response.id)
        elif response.id != self.id:
            if self.texts:
                self.ids = [*[self.id] * len(self.texts), response.id]
            else:
                self.id = response.id
        self.texts.append(text)
        return len(text)

    def head(self) -> bytes:
        """They as JSON, in the form that recording.py tells.

        Raises:
            TypeError, ValueError: a text or a parameter has no form in JSON.
        """
        like = self.like
        said = {str(index): own for index, own in self.said.items()}
        if said and orjson.loads(orjson.dumps(said)) != said:
            raise ValueError("parameters without a JSON form")
        described = like.label and {"content_type": like.label}
        tensor = [like.name, like.datatype, like.shape, described]
        told = [TEXT if like.kind is str else BYTES, self.texts, said]
        head: list[Any] = [like.model_name, like.model_version, [tensor], told]
        if self.ids is not None or self.id is not None:
            head.append(self.ids or self.id)
        # A copy: orjson's own has room for more, and this is kept.
        return bytes(memoryview(orjson.dumps(head)))

    @classmethod
    def read(cls, head: list[Any]) -> Texts | None:
        """Those of a head, as parsed; None where it is of others.

        Raises:
            ValueError, TypeError, LookupError: it cannot be.
        """
        name, version, described, told, *rest = head
        if not told or not isinstance(told[0], str):
            return None
        form, texts, sayings = told
        [(tensor, kind, shape, parameters)] = described
        output = {"name": tensor, "datatype": kind, "shape": shape, "parameters": parameters}
        ResponseOutput.model_validate({**output, "data": []})
        [ids] = rest or [None]
        many = ids if isinstance(ids, list) else None
        said = {int(index): own for index, own in sayings.items()}
        if (
            form not in (TEXT, BYTES)
            or not isinstance(name, str)
            or not isinstance(version, str | None)
            or not set(map(type, texts)) <= {str}
            or not set(map(type, said.values())) <= {dict}
            or not set(map(type, many or [ids])) <= {str, type(None)}
            or (many is not None and len(many) != len(texts))
        ):
            raise ValueError("no texts")
        label = None if parameters is None else parameters["content_type"]
        like = Like(name, version, tensor, kind, shape, label, str if form == TEXT else bytes)
        return cls(like, None if many else ids, texts, said, many)

    def __len__(self) -> int:
        return len(self.texts)

    @overload
    def __getitem__(self, at: int) -> InferenceResponse: ...

    @overload
    def __getitem__(self, at: slice) -> Texts: ...

    def __getitem__(self, at: int | slice) -> InferenceResponse | Texts:
        if isinstance(at, slice):
            first, end, _ = at.indices(len(self.texts))
            said = {index - first: own for index, own in self.said.items() if first <= index < end}
            ids = None if self.ids is None else self.ids[at]
            return Texts(self.like, self.id, self.texts[at], said, ids)
        index = range(len(self.texts))[at]
        id = self.id if self.ids is None else self.ids[index]
        return self.like.response(self.texts[index], id, self.said.get(index))

    def __iter__(self) -> Iterator[InferenceResponse]:
        make, id, ids, said = self.like.response, self.id, self.ids, self.said
        for index, text in enumerate(self.texts):
            yield make(text, id if ids is None else ids[index], said.get(index))
