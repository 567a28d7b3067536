"""`mlserver start` with our door, for a folder whose settings.json does not name it.

Nothing has to be set for it, neither PYTHONPATH, which KServe refuses, nor a line in the folder.
"""

from __future__ import annotations

import os
from pathlib import Path

import click
from mlserver.cli.main import start
from mlserver.logging import configure_logger, logger
from mlserver.settings import Settings
from mlserver.utils import install_uvloop_event_loop

from .. import repository
from .folder import argument, read_settings

DOOR = f"{repository.__name__}.{repository.ModelSettingsRepository.__name__}"
VARIABLE = "MLSERVER_MODEL_REPOSITORY_IMPLEMENTATION"


@click.command()
@argument
@click.pass_context
def main(context: click.Context, folder: Path) -> None:
    """Serve the folder DIR: `mlserver start DIR` with streams, whatever its settings.json names.

    A settings.json that names a model repository of its own keeps it; where none is named, ours
    finds the models.
    """
    settings = read_settings(folder)
    configure_logger()
    if not open_door(settings):
        logger.info(
            "%s finds the models: the settings name it. How streams are served is ours.",
            getattr(settings.model_repository_implementation, "__name__", "A repository"),
        )
    install_uvloop_event_loop()
    context.invoke(start, folder=str(folder))


def open_door(settings: Settings) -> bool:
    """Have MLServer find models with our repository; False where the settings name another.

    In the environment, from where MLServer takes what settings.json does not say, and which its
    worker processes inherit.
    """
    named = settings.model_repository_implementation
    if named is not None:
        return named is repository.ModelSettingsRepository
    os.environ[VARIABLE] = DOOR
    if "debug" not in settings.model_fields_set:
        # MLServer's own default shows tracebacks to clients.
        os.environ["MLSERVER_DEBUG"] = "false"
    return True
