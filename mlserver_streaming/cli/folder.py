"""The folder that is served, and MLServer's own settings in it."""

from __future__ import annotations

import json
import sys
import traceback
from pathlib import Path
from typing import Any

import click
from mlserver.settings import Settings
from pydantic import ValidationError

from ..settings import SETTINGS_FILE

argument = click.argument(
    "folder", metavar="DIR", type=click.Path(exists=True, file_okay=False, path_type=Path)
)


def read_settings(folder: Path) -> Settings:
    """MLServer's settings as it would read them for this folder.

    Imports the model repository that they name, as MLServer does.

    Raises:
        click.ClickException: settings.json cannot be read, or a value is impossible.
    """
    # What the file names may lie in the folder; MLServer looks there too.
    sys.path[:0] = [str(folder), "."]
    try:
        return Settings(**read_file(folder))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(map(str, first["loc"]))
        message = first["msg"].partition("\n")[0]
        raise click.ClickException(
            f'"{field}" in {folder / SETTINGS_FILE} or its environment variable: {message}.'
        ) from error
    except Exception as error:
        # A model repository of somebody's own is imported here, and may raise anything.
        (said, *_) = traceback.format_exception_only(error)
        raise click.ClickException(
            f"The model repository that {folder / SETTINGS_FILE} names cannot be imported: "
            f"{' '.join(said.split())}"
        ) from error


def read_file(folder: Path) -> dict[str, Any]:
    """What its settings.json says; nothing where there is none.

    Raises:
        click.ClickException: it cannot be read.
    """
    file = folder / SETTINGS_FILE
    if not file.is_file():
        return {}
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise click.ClickException(f"{file} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise click.ClickException(f"{file} is not JSON: {error}.") from error
    if not isinstance(found, dict):
        raise click.ClickException(f"{file} must be a JSON object.")
    return found
