"""The door: settings.json names this repository, so MLServer imports this module first of ours.

The import happens while MLServer reads its settings, before it builds its servers: the moment to
put our edges in their places.
"""

import os
from typing import Any, ClassVar
from urllib.parse import urlparse

from mlserver.logging import logger
from mlserver.repository import SchemalessModelRepository
from mlserver.settings import ModelSettings

from . import extension

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

    async def list(self) -> list[ModelSettings]:
        return [settings for settings in await super().list() if self._is_whole(settings)]

    def _is_whole(self, settings: ModelSettings) -> bool:
        uri = settings.parameters.uri if settings.parameters else None
        missing = missing_file(uri, settings._source) if uri else None
        if missing is None:
            return True
        if missing not in self._told:
            self._told.add(missing)
            logger.info(
                "Model '%s' is not served: there is no %s. Put its file there, or point "
                "parameters.uri of %s at one, and start again.",
                settings.name,
                os.path.relpath(missing),
                os.path.relpath(settings._source or ""),
            )
        return False


def missing_file(uri: str, source: str | None) -> str | None:
    """The file of this machine that a model's uri names, where there is none; else None.

    Args:
        source: the model's settings file, beside which a relative uri lies.
    """
    parts = urlparse(uri)
    if parts.scheme not in ("", "file") or parts.netloc:
        return None
    path = os.path.join(os.path.dirname(source or ""), parts.path)
    return None if os.path.exists(path) else path
