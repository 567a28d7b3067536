"""Tensors in JSON: their data against their shape and datatype.

Runtimes may lean on it: one written for stock MLServer gives such data to numpy, whose exceptions
would be the service's fault then, not the caller's.
"""

from itertools import chain
from math import prod
from typing import Any

import numpy as np

from ..errors import BadRequestError
from .raw import BYTES, DTYPES, MAX_DIMENSIONS, check_shape

# What JSON may hold for a datatype. NaN has no JSON form; orjson and others write null for it.
_NUMBERS = {bool, int, float}
_KINDS = {"b": _NUMBERS, "i": _NUMBERS, "u": _NUMBERS, "f": {*_NUMBERS, type(None)}}


def check_json_tensor(name: str, datatype: str, shape: list[int], data: Any) -> None:
    """Check a tensor's data, nested or flat. Costs little beside having parsed it.

    Raises:
        BadRequestError: ragged, of another size than the shape, or not of the datatype.
    """
    check_shape(name, shape)
    elements = _elements(name, data)
    if len(elements) != prod(shape):
        raise BadRequestError(
            f"Input '{name}' has shape {shape}, but its data holds {len(elements)} element(s); "
            "send as many elements as the shape says."
        )
    kinds = set(map(type, elements))
    if datatype == BYTES:
        if not kinds <= {str}:
            raise BadRequestError(f"Input '{name}' is BYTES, so its data must be strings.")
        return
    dtype = DTYPES[datatype]
    if not kinds <= _KINDS[dtype.kind]:
        raise BadRequestError(f"Input '{name}' is {datatype}, so its data must be numbers.")
    if elements and dtype.kind in "iu":
        limits = np.iinfo(dtype)
        whole = float not in kinds or all(float(element).is_integer() for element in elements)
        if not whole or min(elements) < limits.min or max(elements) > limits.max:
            raise BadRequestError(
                f"Input '{name}' is {datatype}, so its data must be whole numbers from "
                f"{limits.min} to {limits.max}."
            )


def _elements(name: str, data: Any) -> list[Any]:
    """All elements, row-major. By levels, not by recursion."""
    rows = data if isinstance(data, list) else [data]
    for _ in range(MAX_DIMENSIONS):
        kinds = set(map(type, rows))
        if list not in kinds:
            return rows
        if len(kinds) > 1 or len(set(map(len, rows))) > 1:
            raise BadRequestError(f"The rows of input '{name}' are not all of one length.")
        rows = list(chain.from_iterable(rows))
    raise BadRequestError(f"Input '{name}' is nested more than {MAX_DIMENSIONS} deep.")
