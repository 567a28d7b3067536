"""The usual V2 request, put together without pydantic, and without one look after another for what
few requests have: half of what it costs to read a small one."""

from typing import Any

from mlserver.types import Datatype, InferenceRequest, Parameters, RequestInput

from ..models.messages import request, request_input
from ..settings import LimitSettings
from ..tensors.raw import BYTES
from ..tensors.steps import OBJECTS

REQUEST = frozenset(("id", "inputs", "parameters"))
INPUT = frozenset(("name", "shape", "datatype", "data"))
DESCRIBED_INPUT = INPUT | {"parameters"}
DATATYPES = frozenset(each.value for each in Datatype)
# What an element may be.
NUMBERS = {each: frozenset((float, int)) for each in ("FP16", "FP32", "FP64")}
ELEMENTS = {BYTES: frozenset((str,)), **NUMBERS}
# Parameters that say no more than they seem to.
VALUES = frozenset((str, int, float, bool))
# What this service takes out of them has such names.
TAKEN = ("binary_data", "shared_memory")


def usual_request(parsed: dict[str, Any], limits: LimitSettings) -> InferenceRequest | None:
    """A request that names no outputs, and whose inputs are short flat lists of texts or floats.

    None where it is any other, or wrong: `decode_request` reads it, or says what is wrong.
    """
    inputs = parsed.get("inputs")
    if type(inputs) is not list or not parsed.keys() <= REQUEST or len(inputs) > limits.inputs:
        return None
    request_id, given = parsed.get("id"), parsed.get("parameters")
    if not (request_id is None or type(request_id) is str):
        return None
    parameters = None
    if given is not None and (parameters := _parameters(given, limits)) is None:
        return None
    made: list[RequestInput] = []
    left = min(OBJECTS, limits.elements)
    for each in inputs:
        if type(each) is not dict or (found := _input(each, limits)) is None:
            return None
        left -= len(each["data"])
        made.append(found)
    return request(request_id, made, parameters, set(parsed)) if left >= 0 else None


def _input(given: dict[str, Any], limits: LimitSettings) -> RequestInput | None:
    parameters = None
    if given.keys() != INPUT and (
        given.keys() != DESCRIBED_INPUT
        or (parameters := _parameters(given["parameters"], limits)) is None
    ):
        return None
    name, shape, datatype, data = given["name"], given["shape"], given["datatype"], given["data"]
    if type(name) is not str or type(datatype) is not str or type(data) is not list:
        return None
    if type(shape) is not list or len(shape) != 1 or type(shape[0]) is not int:
        return None
    elements = ELEMENTS.get(datatype)
    if elements is None or shape[0] != len(data) or not elements.issuperset(map(type, data)):
        return None
    return request_input(name, datatype, shape, data, parameters)


def _parameters(given: Any, limits: LimitSettings) -> Parameters | None:
    if type(given) is not dict or len(given) > limits.inputs or "headers" in given:
        return None
    if type(given.get("content_type", "")) is not str or not VALUES.issuperset(
        map(type, given.values())
    ):
        return None
    if any(name.startswith(TAKEN) for name in given):
        return None
    return Parameters(**given)
