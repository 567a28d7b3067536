"""Which models a folder has: found by their model-settings.json, or passed over, and why.

Nothing is imported and nothing is told here: `find_models` looks, the door and `check` tell.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlparse

from mlserver.repository import DEFAULT_MODEL_SETTINGS_FILENAME as SETTINGS_FILE
from mlserver.settings import ModelParameters, ModelSettings
from mlserver.utils import to_absolute_path
from pydantic import ValidationError

MODELS_FOLDER = "model-settings"
# Nobody's models lie there, and there may be a great many files.
PACKAGES = {"node_modules", "site-packages", "__pycache__", "venv"}
# Copies of what lies elsewhere, made when something was built.
BUILT = {"build", "dist"}
# Which a virtual environment has, whatever it is called; and one of conda's.
ENVIRONMENT_FILES = {"pyvenv.cfg", "conda-meta"}
# How many folders an error names.
NAMED = 3


@dataclass(frozen=True, slots=True)
class FoundModel:
    """A model that can be loaded, as far as its settings tell.

    Attributes:
        settings: as MLServer reads them, the name and the place of its files filled in.
        folder: where its model-settings.json lies, relative to the served root; None where the
            environment names the model (MLSERVER_MODEL_IMPLEMENTATION).
    """

    settings: ModelSettings
    folder: str | None


@dataclass(frozen=True, slots=True)
class PassedOver:
    """A model-settings.json of which no model comes.

    Attributes:
        name: the model's, as far as it can be told; else its folder's.
        file: the model-settings.json, relative to the served root.
        reason: a sentence to stand behind a colon, without a path of this machine.
        is_fault: whether somebody made a mistake. Weights that are not there yet are none.
    """

    name: str
    file: str
    reason: str
    is_fault: bool = True

    def __str__(self) -> str:
        return f"Model '{self.name}' of {self.file} is not served: {self.reason}"


@dataclass(slots=True)
class Findings:
    """What a served root has.

    Attributes:
        below_models_folder: whether only what lies below `model-settings/` was looked at.
        models, passed_over: in the order of their folders.
        elsewhere: where no model is found at all: folders that have a model-settings.json, but are
            not looked at, relative to the root; a few of them.
    """

    below_models_folder: bool
    models: list[FoundModel] = field(default_factory=list)
    passed_over: list[PassedOver] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)

    @property
    def faults(self) -> list[PassedOver]:
        return [each for each in self.passed_over if each.is_fault]

    @property
    def way(self) -> str:
        """Which of the two ways was taken, in words."""
        return f"below {MODELS_FOLDER}/" if self.below_models_folder else "in the whole folder"


def find_models(root: str) -> Findings:
    """The models of a served root.

    Where it has a folder `model-settings/`, those below that; else those in all of it, as MLServer
    does, but for virtual environments, hidden folders, installed packages and build output. Where
    there is none at all, the one that MLSERVER_MODEL_IMPLEMENTATION names, as with MLServer.
    """
    root = os.path.abspath(root)
    top = os.path.join(root, MODELS_FOLDER)
    found = Findings(below_models_folder=os.path.isdir(top))
    seen: dict[tuple[str, str | None], str] = {}
    for folder in _folders(top if found.below_models_folder else root, root):
        file = os.path.relpath(os.path.join(folder, SETTINGS_FILE), root)
        try:
            settings = read_model_settings(os.path.join(folder, SETTINGS_FILE))
        except ValueError as error:
            found.passed_over.append(PassedOver(os.path.basename(folder), file, str(error)))
            continue
        name, key = settings.name, (settings.name, settings.version)
        if key in seen:
            what = f"version '{key[1]}' of model '{name}'" if key[1] else f"model '{name}'"
            reason = f"{seen[key]} has {what} too; give one of them another name or version."
            found.passed_over.append(PassedOver(name, file, reason))
        elif (missing := missing_file(settings)) is not None:
            if missing.startswith(root + os.sep):
                missing = os.path.relpath(missing, root)
            reason = (
                f"there is no {missing}. Put its file there, or point "
                f"parameters.uri of its {SETTINGS_FILE} at one; then load it, or start again."
            )
            found.passed_over.append(PassedOver(name, file, reason, is_fault=False))
        else:
            seen[key] = file
            found.models.append(FoundModel(settings, os.path.relpath(folder, root)))
    if not found.models and not found.passed_over:
        found.elsewhere = _elsewhere(root)
    if not found.models and (named := _named_by_environment()) is not None:
        found.models.append(FoundModel(named, None))
    return found


def read_model_settings(path: str) -> ModelSettings:
    """A model-settings.json as MLServer reads it: the folder's name where it gives none, and the
    folder as the place of its files.

    Raises:
        ValueError: it cannot be read; one sentence that says why.
    """
    try:
        with open(path, encoding="utf-8") as file:
            given = json.load(file)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"it is not JSON: line {error.lineno}, column {error.colno}: {error.msg}."
        ) from error
    except UnicodeDecodeError as error:
        raise ValueError("it is not UTF-8 text.") from error
    except (OSError, RecursionError) as error:
        why = getattr(error, "strerror", None) or "it is nested too deeply"
        raise ValueError(f"it cannot be read: {why}.") from error
    if not isinstance(given, dict):
        raise ValueError("it must be an object of settings: {...}.")
    try:
        settings = ModelSettings.model_validate({**given, "_source": path})
    except ValidationError as error:
        raise ValueError(_first_of(error)) from error
    if not settings.implementation_.rpartition(".")[0].strip(".:"):
        raise ValueError(
            f"field 'implementation': '{settings.implementation_}' names no module; write "
            "MODULE.CLASS."
        )
    folder = os.path.dirname(path)
    if not settings.name:
        settings.name = os.path.basename(folder)
    parameters = settings.parameters or ModelParameters()
    if not parameters.uri:
        parameters.uri = folder
    settings.parameters = parameters
    return settings


def missing_file(settings: ModelSettings) -> str | None:
    """The file of this machine that a model's `parameters.uri` names, where there is none."""
    uri = urlparse((settings.parameters and settings.parameters.uri) or "")
    if not uri.path or uri.netloc or uri.scheme not in ("", "file"):
        return None
    path = to_absolute_path(settings, uri.path)
    return None if os.path.exists(path) else path


def _first_of(error: ValidationError) -> str:
    first: Any = error.errors(include_url=False)[0]
    # The implementation's field has a name of its own in MLServer, and so in its errors.
    names = [str(part) for part in first["loc"]]
    name = ".".join("implementation" if each == "implementation_" else each for each in names)
    if first["type"] == "missing":
        return f"field '{name}' is missing."
    return f"field '{name}': {first['msg']}."


def _folders(top: str, root: str, all_of_them: bool = False) -> Iterator[str]:
    """The folders with a model-settings.json, a folder before those in it.

    Links are followed, as MLServer does, but not in a circle: each folder is known by what it is.
    """
    # Below model-settings/ a model may well be called `build`.
    passed = PACKAGES if top != root or all_of_them else PACKAGES | BUILT

    def walk(folder: str, ancestors: frozenset[str]) -> Iterator[str]:
        real = os.path.realpath(folder)
        if real in ancestors:
            return
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError:
            return
        if not ENVIRONMENT_FILES.isdisjoint(entry.name for entry in entries):
            return
        if os.path.isfile(os.path.join(folder, SETTINGS_FILE)):
            yield folder
        for entry in entries:
            if _is_looked_into(entry.name, passed, all_of_them) and os.path.isdir(entry.path):
                yield from walk(entry.path, ancestors | {real})

    yield from walk(top, frozenset())


def _is_looked_into(name: str, passed: set[str], hidden: bool) -> bool:
    if name in passed or name.endswith((".egg-info", ".dist-info")):
        return False
    return hidden or not name.startswith(".")


def _elsewhere(root: str) -> list[str]:
    found = []
    for folder in _folders(root, root, all_of_them=True):
        found.append(os.path.relpath(folder, root))
        if len(found) == NAMED:
            break
    return found


def _named_by_environment() -> ModelSettings | None:
    try:
        settings = ModelSettings()
    except ValidationError:
        return None
    settings.parameters = ModelParameters()
    return settings
