"""V2 requests as JSON."""

from math import prod
from typing import Any

import numpy as np
import orjson
from mlserver.types import InferenceRequest, Parameters, TensorData
from pydantic import ValidationError

from ..errors import BadRequestError
from ..settings import LimitSettings
from .bounds import check_counts, check_elements
from .json_codec import datatype
from .json_pieces import SMALL_BODY_BYTES, Rows, cut, is_mark, not_json
from .json_tensors import check_json_tensor, check_size
from .raw import BF16, BYTES, check_shape, decode_raw, most_elements
from .steps import OBJECTS, Steps

# How deep a parameter may be nested: others who handle it (orjson's writer at 254, pickle, the
# cache) go by recursion.
MAX_NESTING = 100


# What an inference request has.
INPUTS = "a list of 'inputs'"


def parse_json(body: bytes, holding: str = INPUTS) -> dict[str, Any]:
    """The JSON object that a short body holds.

    Args:
        holding: what is to be in it, for who sent something else.

    Raises:
        BadRequestError: empty, not UTF-8, not JSON or not an object.
    """
    if not body:
        raise BadRequestError(f"The request body is empty; send a JSON object with {holding}.")
    try:
        return _object(orjson.loads(body), holding)
    except orjson.JSONDecodeError as error:
        try:
            body.decode()
        except UnicodeDecodeError as undecodable:
            raise BadRequestError(
                "The request body is not UTF-8 text "
                f"(byte {undecodable.start} is 0x{body[undecodable.start]:02x}); encode it as "
                "UTF-8.",
                422,
            ) from error
        raise BadRequestError(f"The request body is not JSON: {error}.") from error


def parse(body: bytes, limits: LimitSettings) -> Steps[tuple[dict[str, Any], dict[str, Rows]]]:
    """The JSON object that a body holds, and by their marks the rows of numbers that are not read
    yet (json_pieces.py).

    Raises:
        BadRequestError: as `parse_json`.
        TooLargeError: there is more in it than `limits` allow.
    """
    if len(body) < SMALL_BODY_BYTES:
        return parse_json(body), {}
    text, rows = yield from cut(body, limits)
    yield
    try:
        parsed = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise not_json(error) from error
    yield
    return _object(parsed), rows


def _object(parsed: Any, holding: str = INPUTS) -> dict[str, Any]:
    if not isinstance(parsed, dict):
        raise BadRequestError(f"The request body must be a JSON object with {holding}.")
    return parsed


def attach_rows(
    parsed: dict[str, Any], rows: dict[str, Rows], limits: LimitSettings, shapeless: bool = False
) -> Steps[None]:
    """Give each input of a parsed request whose data are such rows its array.

    Args:
        shapeless: whether the inputs get their shape from their data.

    Raises:
        BadRequestError: they are no data of this input, or lie where there are no inputs' data.
        TooLargeError: they take too much.
    """
    left = dict(rows)
    inputs = parsed.get("inputs")
    for tensor in inputs if rows and isinstance(inputs, list) else []:
        if not isinstance(tensor, dict) or not is_mark(tensor.get("data")):
            continue
        name = str(tensor.get("name"))
        found = left.pop(tensor["data"], None)
        if found is None:  # the same object twice
            break
        array = yield from found.numbers(name, str(tensor.get("datatype")), limits)
        if shapeless:
            tensor["shape"] = list(array.shape)
        # An instance, not the bare array: pydantic leaves it alone.
        tensor["data"] = TensorData.model_construct(root=array)
    if left:
        raise BadRequestError("A long list of numbers can only be the data of an input.")


def decode_request(parsed: dict[str, Any], limits: LimitSettings) -> Steps[InferenceRequest]:
    """An InferenceRequest from its JSON object.

    Tensors whose data are views of the body (`binary.attach_tensors`) are read here: to numpy
    views, or to lists of bytes for BYTES.

    Raises:
        BadRequestError: it is not one; the text names the first wrong field.
        TooLargeError: it has more inputs, or elements, than `limits` allow.
    """
    _check_counts(parsed, limits)
    halves = _hidden_bf16(parsed)
    try:
        request = InferenceRequest.model_validate(parsed)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"] if not str(part).startswith("list["))
        raise BadRequestError(f"Field '{field}': {_sentence(first['msg'])}") from error
    for owner in (request, *request.inputs, *(request.outputs or ())):
        if owner.parameters is not None:
            _check_nesting(owner.parameters)
    for index in halves:
        # Past pydantic, which would refuse it.
        request.inputs[index].__dict__["datatype"] = BF16
    read = elements = 0
    for tensor in request.inputs:
        name, kind, shape, data = tensor.name, datatype(tensor), tensor.shape, tensor.data.root
        if isinstance(data, memoryview):
            check_shape(name, shape)
            if kind == BYTES:
                elements += most_elements(shape, data)
                check_elements(limits, elements)
            tensor.data.root = yield from decode_raw(name, kind, shape, data)
        elif isinstance(data, np.ndarray):
            check_shape(name, shape)
            check_size(name, shape, data.size)
            tensor.data.root = data.reshape(shape)
        else:
            check_json_tensor(name, kind, shape, data)
            if kind == BYTES:
                elements += prod(shape)
                check_elements(limits, elements)
            read += prod(shape)
            if read >= OBJECTS:
                read = 0
                yield
    return request


def _hidden_bf16(parsed: dict[str, Any]) -> list[int]:
    """Have tensors of BF16 that came as bytes pass as UINT16; which they are. MLServer's types have
    no such name."""
    inputs = parsed.get("inputs")
    found = [
        index
        for index, tensor in enumerate(inputs if isinstance(inputs, list) else [])
        if isinstance(tensor, dict)
        and tensor.get("datatype") == BF16
        and isinstance(getattr(tensor.get("data"), "root", None), memoryview)
    ]
    for index in found:
        parsed["inputs"][index]["datatype"] = "UINT16"
    return found


def _check_counts(parsed: dict[str, Any], limits: LimitSettings) -> None:
    counts = {
        name: len(found)
        for name in ("inputs", "outputs", "parameters")
        if isinstance(found := parsed.get(name), list | dict)
    }
    check_counts(limits, **counts)
    for tensors in ("inputs", "outputs"):
        for tensor in parsed[tensors] if isinstance(parsed.get(tensors), list) else ():
            if isinstance(tensor, dict) and isinstance(found := tensor.get("parameters"), dict):
                check_counts(limits, parameters=len(found))


def _check_nesting(parameters: Parameters) -> None:
    """By levels, not by recursion."""
    given = [*(parameters.model_extra or {}).values(), *(parameters.headers or {}).values()]
    level = [value for value in given if type(value) in (dict, list)]
    for _ in range(MAX_NESTING):
        if not level:
            return
        level = [
            inner
            for each in level
            for inner in (each.values() if type(each) is dict else each)
            if type(inner) in (dict, list)
        ]
    raise BadRequestError(
        f"A parameter is nested more than {MAX_NESTING} deep; send less deep ones."
    )


def _sentence(text: str) -> str:
    text = text[:1].lower() + text[1:]
    return text if text.endswith(".") else text + "."
