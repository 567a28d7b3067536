"""What a caller may change of a model's settings as it is loaded: Triton's `config` and `files`.

What it names is changed until the model is loaded again; the rest stays as its files have it. What
cannot be changed may be named as it is, so that a configuration that was read here can be sent back
with one field changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from mlserver import MLModel
from mlserver.settings import ModelSettings

from ..errors import BadRequestError, UnsupportedError, shown
from .model_config import model_config

CONFIG, FILE = "config", "file:"
UNLOAD_DEPENDENTS = "unload_dependents"
MAX_BATCH_SIZE = 2**31 - 1
MAX_DELAY_MICROSECONDS = 10**9


@dataclass(frozen=True, slots=True)
class Overrides:
    """What a load changes.

    Attributes:
        config: fields of Triton's `ModelConfig`.
    """

    config: Mapping[str, Any]

    @classmethod
    def of_load(cls, name: str, parameters: Mapping[str, Any]) -> Overrides:
        """What the parameters of a load say.

        Raises:
            UnsupportedError: they bring files.
            BadRequestError: they cannot be read.
        """
        for key in parameters:
            if key.startswith(FILE):
                raise UnsupportedError(
                    f"Model '{shown(name)}' cannot be asked to take files over the network; put "
                    f"'{shown(key[len(FILE) :])}' into its folder and load it again."
                )
            if key != CONFIG:
                raise BadRequestError(
                    f"Loading a model has no parameter '{shown(key)}'; it has '{CONFIG}' and "
                    f"'{FILE}<path>'."
                )
        return cls(_config(parameters[CONFIG]) if CONFIG in parameters else {})

    def applied(self, settings: ModelSettings, loaded: MLModel | None) -> ModelSettings:
        """A copy of a model's settings with what is changed.

        Args:
            loaded: the model as it is now, if it is; what must stay is compared with it.

        Raises:
            UnsupportedError: something else is to be changed.
            BadRequestError: a value is of the wrong kind.
        """
        changes: dict[str, Any] = {}
        present = model_config(loaded) if loaded is not None else {"name": settings.name}
        for field, value in self.config.items():
            if field == "max_batch_size":
                changes["max_batch_size"] = _whole(field, value, MAX_BATCH_SIZE)
            elif field == "dynamic_batching":
                delay = _only(settings.name, field, value, "max_queue_delay_microseconds")
                if delay is not None:
                    microseconds = _whole(f"{field}.{delay[0]}", delay[1], MAX_DELAY_MICROSECONDS)
                    changes["max_batch_time"] = microseconds / 1e6
            elif field == "response_cache":
                enable = _only(settings.name, field, value, "enable")
                if enable is not None:
                    changes["cache_enabled"] = _flag(f"{field}.{enable[0]}", enable[1])
            elif not _same(value, present.get(field)):
                raise UnsupportedError(
                    f"Model '{settings.name}' cannot be asked to change '{shown(field)}' as it is "
                    "loaded; change its model-settings.json and load it again."
                )
        return settings.model_copy(update=changes) if changes else settings


def check_unload(parameters: Mapping[str, Any]) -> None:
    """Read the parameters of an unload: no model here depends on another, so none changes anything.

    Raises:
        BadRequestError: there is no such parameter, or it is not true or false.
    """
    for key, value in parameters.items():
        if key != UNLOAD_DEPENDENTS:
            raise BadRequestError(
                f"Unloading a model has no parameter '{shown(key)}'; it has '{UNLOAD_DEPENDENTS}'."
            )
        _flag(key, value)


def _config(text: Any) -> dict[str, Any]:
    try:
        found = orjson.loads(text) if isinstance(text, str) else None
    except orjson.JSONDecodeError:
        found = None
    if not isinstance(found, dict):
        raise BadRequestError(
            f"Parameter '{CONFIG}' must be a model's configuration: the text of a JSON object."
        )
    return found


def _only(model: str, field: str, value: Any, known: str) -> tuple[str, Any] | None:
    """The one thing that can be changed of a message; None where it is left as it is."""
    if not isinstance(value, dict):
        raise BadRequestError(f"Field '{field}' of '{CONFIG}' must be a JSON object.")
    for key, found in value.items():
        if key != known and not _is_empty(found):
            raise UnsupportedError(
                f"Model '{model}' cannot be asked to set '{field}.{shown(key)}'; of '{field}' only "
                f"'{known}' can be changed."
            )
    return (known, value[known]) if known in value else None


def _whole(field: str, value: Any, most: int) -> int:
    # protobuf's JSON writes 64-bit numbers as text.
    number = int(value) if isinstance(value, str) and _is_number(value) else value
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number <= most:
        raise BadRequestError(
            f"'{field}' must be a whole number from 0 to {most}, not {shown(str(value))}."
        )
    return number


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 20


def _flag(field: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise BadRequestError(f"'{field}' must be true or false, not {shown(str(value))}.")
    return value


def _is_empty(value: Any) -> bool:
    """Whether a value is what protobuf takes a field for that is not there."""
    return not value or value == "FORMAT_NONE" or value == "0"


def _same(given: Any, present: Any) -> bool:
    """Whether a part of a configuration says what is so already."""
    if isinstance(given, dict):
        there = present if isinstance(present, dict) else {}
        if not given:
            return isinstance(present, dict)
        return all(_same(value, there.get(key)) for key, value in given.items())
    if isinstance(given, list) and isinstance(present, list):
        return len(given) == len(present) and all(map(_same, given, present))
    return str(given) == str(present) or (_is_empty(given) and _is_empty(present))
