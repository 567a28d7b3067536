"""The door: settings.json names this repository, so MLServer imports this module first of ours.

The import happens while MLServer reads its settings, before it builds its servers: the moment to
put our edges in their places.
"""

import asyncio
import os
from typing import Any, ClassVar
from urllib.parse import urlparse

from mlserver.logging import logger
from mlserver.repository import SchemalessModelRepository
from mlserver.settings import ModelParameters, ModelSettings
from mlserver.utils import to_absolute_path

from . import extension
from .settings import StreamingSettings

MODELS_FOLDER = "model-settings"

extension.install()


class ModelSettingsRepository(SchemalessModelRepository):
    """Finds models below `model-settings/` only.

    MLServer's own repository takes every model-settings.json below the root, those of tests and
    of virtual environments too. A model whose settings name a file of weights that is not there
    is left out until it is.
    """

    # MLServer makes more than one repository in its life; a missing file is told once.
    _told: ClassVar[set[str]] = set()

    def __init__(self, root: str, **arguments: Any):
        super().__init__(os.path.join(root, MODELS_FOLDER), **arguments)
        limits = StreamingSettings.read(root).limits
        self._defaults = {
            "max_sequences": limits.sequences,
            "sequence_idle_seconds": limits.sequence_idle_seconds,
        }

    async def list(self) -> list[ModelSettings]:
        """The models that are whole, with the limits that hold where `parameters.extra` has none.

        They stand beside `extra`, not in it: a stock runtime may take what is there for its own.
        """
        found = [settings for settings in await super().list() if self._is_whole(settings)]
        for settings in found:
            parameters = settings.parameters or ModelParameters()
            for name, value in self._defaults.items():
                if name not in (parameters.model_extra or {}):
                    setattr(parameters, name, value)
            settings.parameters = parameters
        return found

    def _is_whole(self, settings: ModelSettings) -> bool:
        missing = missing_file(settings)
        if missing is not None and missing not in self._told:
            self._told.add(missing)
            # In a moment: MLServer lists the models before it has set its logger up.
            asyncio.get_running_loop().call_soon(
                logger.info,
                "Model '%s' is not served: there is no %s. Put its file there, or point "
                "parameters.uri of its model-settings.json at one, and start again.",
                settings.name,
                os.path.relpath(missing),
            )
        return missing is None


def missing_file(settings: ModelSettings) -> str | None:
    """The file of this machine that a model's `parameters.uri` names, where there is none."""
    uri = urlparse((settings.parameters and settings.parameters.uri) or "")
    if not uri.path or uri.netloc or uri.scheme not in ("", "file"):
        return None
    path = to_absolute_path(settings, uri.path)
    return None if os.path.exists(path) else path
