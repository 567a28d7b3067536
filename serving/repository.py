"""The door: settings.json names this repository, so MLServer imports this module first of ours.

The import happens while MLServer reads its settings, before it builds its servers: the moment to
put our edges in their places.
"""

import os
from typing import Any

from mlserver.repository import SchemalessModelRepository
from mlserver.settings import ModelParameters, ModelSettings

from . import extension
from .settings import StreamingSettings

MODELS_FOLDER = "model-settings"

extension.install()


class ModelSettingsRepository(SchemalessModelRepository):
    """Finds models below `model-settings/` only.

    MLServer's own repository takes every model-settings.json below the root, those of tests and
    of virtual environments too.
    """

    def __init__(self, root: str, **arguments: Any):
        super().__init__(os.path.join(root, MODELS_FOLDER), **arguments)
        limits = StreamingSettings.read(root).limits
        self._defaults = {
            "max_sequences": limits.sequences,
            "sequence_idle_seconds": limits.sequence_idle_seconds,
        }

    async def list(self) -> list[ModelSettings]:
        """All models, with the limits that hold where a model's `parameters.extra` has none.

        They stand beside `extra`, not in it: a stock runtime may take what is there for its own.
        """
        found: list[ModelSettings] = await super().list()
        for settings in found:
            parameters = settings.parameters or ModelParameters()
            for name, value in self._defaults.items():
                if name not in (parameters.model_extra or {}):
                    setattr(parameters, name, value)
            settings.parameters = parameters
        return found
