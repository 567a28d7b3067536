"""The door: settings.json names this repository, so MLServer imports this module first of ours.

The import happens while MLServer reads its settings, before it builds its servers: the moment to
put our edges in their places.
"""

import asyncio
import builtins
import logging
import os
import sys
from collections.abc import Sequence
from typing import ClassVar

from mlserver.errors import MLServerError, ModelNotFound
from mlserver.logging import logger
from mlserver.repository import SchemalessModelRepository
from mlserver.settings import ModelParameters, ModelSettings

from . import extension
from .discovery import MODELS_FOLDER, Findings, FoundModel, PassedOver, find_models
from .settings import StreamingSettings

extension.install()


class ModelSettingsRepository(SchemalessModelRepository):
    """Finds models as `discovery.find_models` does, anew each time, and tells the log."""

    # MLServer makes more than one repository in its life; each thing is told once.
    _told: ClassVar[set[str]] = set()

    def __init__(self, root: str):
        super().__init__(root)
        self._found: Findings | None = None
        limits = StreamingSettings.read(root).limits
        self._defaults = {
            "max_sequences": limits.sequences,
            "sequence_idle_seconds": limits.sequence_idle_seconds,
        }
        # What runtimes import lies here, wherever the service was started; workers get the path.
        if (path := os.path.abspath(root)) not in sys.path:
            sys.path.insert(0, path)

    async def list(self) -> list[ModelSettings]:
        """The models, with the limits that hold where `parameters.extra` has none.

        They stand beside `extra`, not in it: a stock runtime may take what is there for its own.
        """
        models = [model.settings for model in self._look().models]
        for settings in models:
            parameters = settings.parameters or ModelParameters()
            for name, value in self._defaults.items():
                if name not in (parameters.model_extra or {}):
                    setattr(parameters, name, value)
            settings.parameters = parameters
        return models

    async def find(self, name: str) -> builtins.list[ModelSettings]:
        """All versions of a model.

        Raises:
            ModelNotFound: there is none.
            MLServerError: there is one, but it cannot be read.
        """
        found = [settings for settings in await self.list() if settings.name == name]
        if not found:
            for fault in self.faults:
                if fault.name == name:
                    raise MLServerError(f"Model '{name}' cannot be loaded: {fault}", 422)
            raise ModelNotFound(name)
        return found

    @property
    def faults(self) -> Sequence[PassedOver]:
        """What had to be passed over when it was looked last, though somebody wants it served."""
        return (self._found or self._look()).faults

    def _look(self) -> Findings:
        found = self._found = find_models(self._root)
        # Once for each root: later on, models come and go by the calls of the repository.
        if self._is_new(f"models of {os.path.abspath(self._root)}"):
            self._tell(*_told_of(found))
        for each in found.passed_over:
            if self._is_new(str(each)):
                self._tell(logging.ERROR if each.is_fault else logging.INFO, str(each))
        return found

    def _is_new(self, what: str) -> bool:
        is_new = what not in self._told
        self._told.add(what)
        return is_new

    def _tell(self, level: int, text: str) -> None:
        # In a moment: MLServer lists the models before it has set its logger up.
        asyncio.get_running_loop().call_soon(logger.log, level, "%s", text)


def _told_of(found: Findings) -> tuple[int, str]:
    """Which models there are, for the log: loud where there are none."""
    if found.models:
        models = ", ".join(_named(model) for model in found.models)
        return logging.INFO, f"Models found {found.way}: {models}."
    none = f"No model is served: none is found {found.way}"
    if not found.elsewhere:
        return logging.WARNING, f"{none}."
    elsewhere = ", ".join(found.elsewhere)
    if found.below_models_folder:
        advice = f"Move what is to be served there, or remove the folder {MODELS_FOLDER}/."
    else:
        advice = "Hidden folders, installed packages and build output are not looked into."
    return logging.WARNING, f"{none}, but in {elsewhere}. {advice}"


def _named(model: FoundModel) -> str:
    settings = model.settings
    version = f" (version {settings.version})" if settings.version else ""
    return f"{settings.name}{version}" if model.folder else f"'{settings.name}' of the environment"
