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
    elements, kinds, _ = unnested(name, data)
    check_size(name, shape, len(elements))
    _check_elements(name, datatype, elements, kinds)


def check_size(name: str, shape: list[int], count: int) -> None:
    """
    Raises:
        BadRequestError: a tensor of this shape has another number of elements.
    """
    if count != prod(shape):
        raise BadRequestError(
            f"Input '{name}' has shape {shape}, but its data holds {count} element(s); "
            "send as many elements as the shape says."
        )


def unnested(name: str, data: Any) -> tuple[list[Any], set[type], list[int]]:
    """All elements, row-major, of which types they are, and the sizes of the nest. By levels, not
    by recursion.

    Raises:
        BadRequestError: it is ragged, or too deep.
    """
    rows = data if isinstance(data, list) else [data]
    sizes = [len(rows)]
    for _ in range(MAX_DIMENSIONS):
        kinds = set(map(type, rows))
        if list not in kinds:
            return rows, kinds, sizes
        if len(kinds) > 1 or len(set(map(len, rows))) > 1:
            raise BadRequestError(f"The rows of input '{name}' are not all of one length.")
        sizes.append(len(rows[0]))
        rows = list(chain.from_iterable(rows))
    raise BadRequestError(f"Input '{name}' is nested more than {MAX_DIMENSIONS} deep.")


def numbers_of(name: str, datatype: str, elements: list[Any]) -> np.ndarray:
    """The array of a flat list that JSON held, of the datatype or of one that it can be cast from.

    Raises:
        BadRequestError: they are not of the datatype.
    """
    dtype = DTYPES[datatype]
    found = np.array(elements)
    kind = found.dtype.kind
    if dtype.kind == "b" and kind in "biuf":
        return found.astype(bool)
    if dtype.kind == "f" and kind in "biuf":
        return found
    if kind in "biu" and found.size:
        limits = np.iinfo(dtype)
        if limits.min <= int(found.min()) and int(found.max()) <= limits.max:
            return found
    _check_elements(name, datatype, elements, set(map(type, elements)))
    return np.array(elements, dtype)


def _check_elements(name: str, datatype: str, elements: list[Any], kinds: set[type]) -> None:
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
