"""Request parameters: numbers, or the text of numbers (stock gRPC carries no floats)."""

import math
from typing import Any

from mlserver.types import InferenceRequest

from .errors import ParameterError, shown


def parameter(request: InferenceRequest, name: str) -> Any:
    """The request parameter `name`, or None."""
    if request.parameters is None:
        return None
    return (request.parameters.model_extra or {}).get(name)


def number(request: InferenceRequest, name: str, default: float, low: float, high: float) -> float:
    """The request parameter `name`, from `low` to `high`; `default` where it is not given.

    Raises:
        ParameterError: it is not a number, or out of its range.
    """
    value = parameter(request, name)
    if value is None:
        return default
    found = _as_number(value)
    if found is None or not low <= found <= high:
        raise ParameterError(
            f"Parameter '{name}' must be a number from {low:g} to {high:g}, not {shown(value)}.",
            param=name,
        )
    return found


def integer(request: InferenceRequest, name: str, default: int, low: int, high: int) -> int:
    """As `number`, for whole numbers."""
    value = parameter(request, name)
    if value is None:
        return default
    found = _as_number(value)
    if found is None or not low <= found <= high or found != int(found):
        raise ParameterError(
            f"Parameter '{name}' must be a whole number from {low} to {high}, not {shown(value)}.",
            param=name,
        )
    return int(found)


def _as_number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def flag(request: InferenceRequest, name: str) -> bool:
    """The request parameter `name` as a boolean; false where it is not given.

    Raises:
        ParameterError: it is neither a boolean nor the number or text of one.
    """
    value = parameter(request, name)
    known = {"true": True, "1": True, "false": False, "0": False, "none": False}
    found = known.get(str(value).lower())
    if found is None or isinstance(value, float):
        raise ParameterError(
            f"Parameter '{name}' must be true or false, not {shown(value)}.", param=name
        )
    return found
