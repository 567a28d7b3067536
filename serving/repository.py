"""The door: settings.json names this repository, so MLServer imports this module first of ours.

The import happens while MLServer reads its settings, before it builds its servers: the moment to
put our edges in their places.
"""

import os
from typing import Any

from mlserver.repository import SchemalessModelRepository

from . import extension

MODELS_FOLDER = "model-settings"

extension.install()


class ModelSettingsRepository(SchemalessModelRepository):
    """Finds models below `model-settings/` only.

    MLServer's own repository takes every model-settings.json below the root, those of tests and
    of virtual environments too.
    """

    def __init__(self, root: str, **arguments: Any):
        super().__init__(os.path.join(root, MODELS_FOLDER), **arguments)
