"""A request's fields, read one by one; what is wrong with one is a sentence that names it. Pure.

Fields that nobody asks for are left alone, and null is as good as absent: so does OpenAI have it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NoReturn

from ..errors import shown
from .errors import FieldError


class Fields:
    """An object of a request."""

    def __init__(self, found: dict[str, Any], path: str = ""):
        """
        Args:
            path: what stands before the fields' own names in errors.
        """
        self.all = found
        self._path = path

    def path(self, name: str) -> str:
        return f"{self._path}.{name}" if self._path else name

    def wrong(self, name: str, must: str) -> NoReturn:
        """
        Args:
            must: what it must be.

        Raises:
            FieldError
        """
        path, value = self.path(name), self.all.get(name)
        has = "; it is missing" if value is None else f", not {_shown(value)}"
        raise FieldError(f"'{path}' must be {must}{has}.", path)

    def text(self, name: str) -> str | None:
        value = self.all.get(name)
        if value is not None and not isinstance(value, str):
            self.wrong(name, "text")
        return value

    def needed_text(self, name: str) -> str:
        return self.text(name) or self.wrong(name, "text that is not empty")

    def one_of(self, name: str, choices: tuple[str, ...]) -> str | None:
        value = self.all.get(name)
        if value is not None and value not in choices:
            self.wrong(name, f"one of {', '.join(choices)}")
        return value

    def flag(self, name: str) -> bool:
        value = self.all.get(name)
        if value is not None and not isinstance(value, bool):
            self.wrong(name, "true or false")
        return bool(value)

    def integer(self, name: str, low: int, high: int) -> int | None:
        value = self.all.get(name)
        if value is not None and (type(value) is not int or not low <= value <= high):
            self.wrong(name, f"a whole number from {low} to {high}")
        return value

    def number(self, name: str, low: float, high: float) -> float | None:
        value = self.all.get(name)
        if value is None:
            return None
        if type(value) not in (int, float) or not (math.isfinite(value) and low <= value <= high):
            self.wrong(name, f"a number from {low:g} to {high:g}")
        return float(value)

    def object(self, name: str) -> Fields | None:
        value = self.all.get(name)
        if value is None:
            return None
        if not isinstance(value, dict):
            self.wrong(name, "an object")
        return Fields(value, self.path(name))

    def objects(self, name: str) -> Iterator[tuple[str, Fields]]:
        """Each element of a list of objects, behind its own path; nothing where it is absent."""
        value = self.all.get(name)
        if value is None:
            return
        if not isinstance(value, list):
            self.wrong(name, "a list")
        for index, each in enumerate(value):
            path = f"{self.path(name)}[{index}]"
            if not isinstance(each, dict):
                raise FieldError(f"'{path}' must be an object, not {_shown(each)}.", path)
            yield path, Fields(each, path)


def _shown(value: Any) -> str:
    if isinstance(value, list | dict):
        return f"a list of {len(value)}" if isinstance(value, list) else "an object"
    if isinstance(value, bool):
        return str(value).lower()
    return f"'{shown(value)}'" if isinstance(value, str) else shown(str(value))
