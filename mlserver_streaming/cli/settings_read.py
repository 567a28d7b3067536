"""Which settings are not at their defaults, and where each was read."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from mlserver.settings import ENV_PREFIX_SETTINGS, Settings
from pydantic import BaseModel

from ..settings import BLOCK, NESTED, PREFIX, SETTINGS_FILE, StreamingSettings
from .folder import read_file

# The folder itself, which MLServer is told when it is started.
FOLDER_FIELD = "model_repository_root"


def of_mlserver(settings: Settings, folder: Path) -> Iterator[tuple[str, str, str]]:
    """Name, value and origin of each of MLServer's settings that differs from its default."""
    in_file = read_file(folder)
    for name, field in Settings.model_fields.items():
        value = getattr(settings, name)
        if name == FOLDER_FIELD or value == field.get_default(call_default_factory=True):
            continue
        variable = f"{ENV_PREFIX_SETTINGS}{name}"
        origin = SETTINGS_FILE if name in in_file else _variable_in(variable) or ".env"
        yield name, _shown(value), origin


def unknown_to_mlserver(folder: Path) -> list[str]:
    """What settings.json has that nobody reads, such as a name that is not spelled right."""
    return sorted(set(read_file(folder)) - set(Settings.model_fields) - {BLOCK})


def of_streaming(settings: StreamingSettings) -> Iterator[tuple[str, str, str]]:
    """The same of the block of ours."""
    for names, value in _changed(settings, ()):
        # A variable may hold a whole block.
        variables = (f"{PREFIX}{NESTED.join(names[:end])}" for end in range(len(names), 0, -1))
        origin = next(filter(None, map(_variable_in, variables)), SETTINGS_FILE)
        yield ".".join((BLOCK, *names)), _shown(value), origin


def _changed(block: BaseModel, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, field in type(block).model_fields.items():
        value = getattr(block, name)
        if isinstance(value, BaseModel):
            yield from _changed(value, (*path, name))
        elif value != field.default:
            yield (*path, name), value


def _variable_in(name: str, environment: Collection[str] = os.environ) -> str | None:
    """The environment variable of this name, however it is written."""
    return next((each for each in environment if each.upper() == name.upper()), None)


def _shown(value: Any) -> str:
    if isinstance(value, type):
        return f"{value.__module__}.{value.__qualname__}"
    if isinstance(value, BaseModel):
        value = value.model_dump(exclude_defaults=True)
    return value if isinstance(value, str) else json.dumps(value, default=str)
