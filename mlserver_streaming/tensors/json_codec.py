"""V2 responses as JSON."""

import base64
from collections.abc import Mapping
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np
import orjson
from mlserver.types import (
    InferenceResponse,
    Parameters,
    RequestInput,
    ResponseOutput,
    TensorData,
)

from .raw import BF16, BYTES, ELSEWHERE, as_numbers, flat

BASE64 = "base64"
# The parameter that says how a response came, where a model uses the cache.
CACHE = "cache"
# What a response with one output says beside its data: the arguments of `_head`.
Shape = tuple[str, str, str, str, str, tuple[int, ...], str | None, str | None]
DUMPS = orjson.OPT_SERIALIZE_NUMPY
# What responses repeat is kept; an id may be as long as a message.
KEPT_HEADS, KEPT_ID_CHARACTERS = 1024, 128
# What of one output is written at once: 0.3 ms at most.
FEW_NUMBERS, FEW_STRINGS, SHORT_BYTES = 4096, 16, 64 * 1024
# The tensor parameter that says that its data follow the JSON, and how long they are.
BINARY_SIZE = "binary_data_size"


def encode_unless_large(response: InferenceResponse) -> bytes | None:
    """As `encode_response`; None where that takes too long, and json_responses.py is for it."""
    if (found := _alone(response)) is not None:
        return b"%b%b}]}" % (_head(*found[0]), found[1])
    return None if is_large(response) else encode_response(response)


class StreamEncoder:
    """Writes the responses of one stream: most are of the shape of the one before.

    It remembers that one's head by itself: what all streams share is looked up in a table that is
    too small for some thousands of them, and cold in the processor for some hundreds.
    """

    __slots__ = ("_after", "_before", "_head", "_like", "_shape", "_text_after", "_text_before")

    def __init__(self, before: bytes = b"", after: bytes = b"") -> None:
        """
        Args:
            before, after: what stands around each response.
        """
        self._before, self._after = before, after
        self._shape: Shape | None = None
        self._head = b""
        # Of the last response that was one text: what stood around that, and all that this tells.
        self._like: tuple[Any, ...] | None = None
        self._text_before = self._text_after = b""

    def encode(self, response: InferenceResponse) -> bytes | None:
        """As `encode_unless_large`, with what stands around it."""
        # One text, as tokens come, is read here as `_alone` reads it; the rest is left to that.
        fields = response.__dict__
        outputs = fields["outputs"]
        like = None
        if len(outputs) == 1 and fields["parameters"] is None:
            output = outputs[0].__dict__
            data, shape, label = output["data"], output["shape"], output["parameters"]
            if type(data) is TensorData:
                data = data.__dict__["root"]
            is_plain = type(data) is list and len(data) == 1 and type(shape) is list
            if label is not None:
                # Each time: a model may change what it gives again.
                described = label.__dict__
                if described["headers"] is not None or label.__pydantic_extra__:
                    is_plain = False
                label = described["content_type"]
            if is_plain:
                text = data[0]
                if type(text) is bytes and len(text) <= SHORT_BYTES:
                    try:
                        text = text.decode()
                    except UnicodeDecodeError:
                        text = None
                if type(text) is str and len(text) <= SHORT_BYTES:
                    like = (
                        fields["id"],
                        fields["model_name"],
                        fields["model_version"],
                        output["name"],
                        output["datatype"],
                        label,
                        shape,
                    )
                    if like == self._like:
                        return self._text_before + orjson.dumps(text) + self._text_after
        if (found := _alone(response)) is None:
            if is_large(response):
                return None
            return self._before + encode_response(response) + self._after
        kind, content = found
        if kind != self._shape:
            self._shape, self._head = kind, _head(*kind)
        if like is not None:
            self._like = (*like[:-1], [*shape])
            self._text_before = b"%b%b[" % (self._before, self._head)
            self._text_after = b"]}]}" + self._after
        return b"%b%b%b}]}%b" % (self._before, self._head, content, self._after)


def is_large(response: InferenceResponse) -> bool:
    """Whether there may be so much in a response that it is written in steps."""
    for output in response.outputs:
        data = output.data.root if isinstance(output.data, TensorData) else output.data
        if isinstance(data, np.ndarray):
            if data.nbytes > SHORT_BYTES:
                return True
        elif isinstance(data, str | bytes):
            if len(data) > SHORT_BYTES:
                return True
        elif isinstance(data, list | tuple) and data is not ELSEWHERE:
            if datatype(output) != BYTES:
                if prod(output.shape) > FEW_NUMBERS:
                    return True
            elif not _are_short(data):
                return True
    return False


def _are_short(data: Any) -> bool:
    """Whether a list of BYTES elements holds few, and short ones."""
    if len(data) == 1 and type(data[0]) is str:  # as tokens come
        return len(data[0]) <= SHORT_BYTES
    return len(data) <= FEW_STRINGS and all(
        len(each) <= SHORT_BYTES for each in data if isinstance(each, str | bytes)
    )


def encode_response(response: InferenceResponse, sizes: Mapping[int, int] | None = None) -> bytes:
    """Compact JSON of a response. Unset fields are left out, numpy arrays become lists.

    BYTES elements that are not UTF-8 cannot stand in JSON: their tensor goes out as base64 and
    its `content_type` says so.

    Args:
        sizes: the bytes of the outputs (by their index) whose data follow the JSON.
    """
    # Built by hand: this is on the path of every event, and pydantic's dump costs more than all
    # the rest of an event together.
    if not sizes and (found := _alone(response)) is not None:
        return b"%b%b}]}" % (_head(*found[0]), found[1])
    whole = head_of(response)
    if sizes:
        whole["outputs"] = [
            _output(output, sizes.get(index)) for index, output in enumerate(response.outputs)
        ]
    else:
        whole["outputs"] = [_output(output) for output in response.outputs]
    return orjson.dumps(whole, option=DUMPS, default=as_json)


def head_of(response: InferenceResponse) -> dict[str, Any]:
    """What stands in a response's JSON before its outputs."""
    found: dict[str, Any] = {"model_name": response.model_name}
    if response.model_version:
        found["model_version"] = response.model_version
    if response.id:
        found["id"] = response.id
    if response.parameters is not None and (parameters := parameters_of(response.parameters)):
        found["parameters"] = parameters
    return found


def _alone(response: InferenceResponse) -> tuple[Shape, bytes] | None:
    """A response with one output and nothing to say of it but how it came, as tokens have it: its
    shape, and its data as JSON. None where it is not so simple."""
    # Each field once, from where pydantic keeps it: what attributes of a message cost adds up.
    fields = response.__dict__
    outputs = fields["outputs"]
    if len(outputs) != 1:
        return None
    output = outputs[0].__dict__
    way = None
    if (said := fields["parameters"]) is not None:
        given = said.__pydantic_extra__  # `model_extra` is a call more
        if said.headers is not None or said.content_type is not None:
            return None
        if given:
            way = given.get(CACHE)
            if len(given) > 1 or not isinstance(way, str):
                return None
    content_type = None
    if (described := output["parameters"]) is not None:
        if described.__pydantic_extra__ or described.headers is not None:
            return None
        content_type = described.content_type
    request_id = fields["id"] or ""
    if len(request_id) > KEPT_ID_CHARACTERS:
        return None
    kind = output["datatype"]
    if not isinstance(kind, str):
        kind = kind._value_  # `value` is two calls more
    data = output["data"]
    if isinstance(data, TensorData):
        data = data.root
    if not isinstance(data, list) or len(data) > FEW_NUMBERS:
        return None
    if kind == BYTES:
        first = data[0] if len(data) == 1 else None
        if type(first) is str:  # as tokens come
            if len(first) > SHORT_BYTES:
                return None
        elif type(first) is bytes:
            if len(first) > SHORT_BYTES:
                return None
            try:
                data = [first.decode()]
            except UnicodeDecodeError:
                return None
        elif not _are_short(data):
            return None
        else:
            data, encoded = text_elements(data)
            if encoded:
                return None
    shape = (
        fields["model_name"],
        fields["model_version"] or "",
        request_id,
        output["name"],
        kind,
        tuple(output["shape"]),
        content_type,
        way,
    )
    return shape, orjson.dumps(data, option=DUMPS, default=as_json)


def _head(model_name: str, model_version: str, request_id: str, *output: Any) -> bytes:
    """The JSON of a response with one output, up to its data."""
    before, after = _around_id(model_name, model_version, *output)
    if not request_id:
        return b"%b%b" % (before, after)
    return b'%b"id":%b,%b' % (before, orjson.dumps(request_id), after)


@lru_cache(KEPT_HEADS)
def _around_id(
    model_name: str,
    model_version: str,
    name: str,
    datatype: str,
    shape: tuple[int, ...],
    content_type: str | None,
    way: str | None,
) -> tuple[bytes, bytes]:
    """What stands in that before its id, and behind it: that is another's each time."""
    named = {"model_name": model_name}
    if model_version:
        named["model_version"] = model_version
    found: dict[str, Any] = {}
    if way is not None:
        found["parameters"] = {CACHE: way}
    output: dict[str, Any] = {"name": name, "shape": shape, "datatype": datatype}
    if content_type is not None:
        output["parameters"] = {"content_type": content_type}
    found["outputs"] = [output | {"data": None}]
    before = orjson.dumps(named).removesuffix(b"}") + b","
    return before, orjson.dumps(found).removeprefix(b"{").removesuffix(b"null}]}")


def _output(output: Any, binary_size: int | None = None) -> dict[str, Any]:
    data = output.data.root if isinstance(output.data, TensorData) else output.data
    kind = output.datatype if isinstance(output.datatype, str) else output.datatype.value
    found = {"name": output.name, "shape": output.shape, "datatype": kind}
    parameters = parameters_of(output.parameters) if output.parameters is not None else {}
    if binary_size is not None:
        return {**found, "parameters": {**parameters, BINARY_SIZE: binary_size}}
    if data is ELSEWHERE:
        return {**found, "parameters": parameters}
    if kind == BYTES:
        data, encoded = text_elements(data)
        if encoded:
            parameters = {**parameters, "content_type": BASE64}
    elif kind == BF16:
        data = as_numbers(kind, data)
    elif isinstance(data, np.ndarray) and not data.dtype.isnative:
        data = data.astype(data.dtype.newbyteorder("="))  # orjson refuses the other byte order
    if parameters:
        found["parameters"] = parameters
    found["data"] = data
    return found


def datatype(tensor: RequestInput | ResponseOutput) -> str:
    """A tensor's datatype: MLServer keeps its name, a runtime may give the member of the enum."""
    return str(getattr(tensor.datatype, "value", tensor.datatype))


def parameters_of(parameters: Parameters) -> dict[str, Any]:
    """Parameters as JSON has them."""
    known = {
        name: value
        for name, value in (
            ("content_type", parameters.content_type),
            ("headers", parameters.headers),
        )
        if value is not None
    }
    return {**known, **(parameters.model_extra or {})}


def text_elements(data: Any) -> tuple[list[Any], bool]:
    """BYTES elements as JSON strings, and whether base64 was needed."""
    elements = data.reshape(-1).tolist() if isinstance(data, np.ndarray) else data
    if not isinstance(elements, list | tuple):
        elements = [elements]
    try:
        return [_decoded(element) for element in elements], False
    except UnicodeDecodeError:
        raw = [e.encode() if isinstance(e, str) else e for e in flat(elements)]
        return [base64.b64encode(element).decode() for element in raw], True


def _decoded(element: Any) -> Any:
    if isinstance(element, bytes):
        return element.decode()
    if isinstance(element, list | tuple):
        return [_decoded(inner) for inner in element]
    return element


def as_json(value: Any) -> Any:
    """What orjson does not know by itself: odd arrays, numpy scalars, bytes in parameters."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, TensorData):
        return value.root
    raise TypeError(f"{type(value).__name__} has no JSON form")
