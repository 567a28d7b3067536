"""A folder that serves at once: one model to change, its test, and how to ask it."""

from __future__ import annotations

import os
from importlib.resources import files
from pathlib import Path

import click

MODEL = "model-settings/my-model"
FILES = (
    "README.md",
    "settings.json",
    f"{MODEL}/model-settings.json",
    f"{MODEL}/my_model.py",
    f"{MODEL}/test_my_model.py",
)


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
def main(folder: Path) -> None:
    """Make DIR a folder that serves a model at once: settings, the model, its test, a README.

    DIR may be there already. Nothing in it is written over: where one of the files exists, nothing
    is written at all.
    """
    there = [name for name in FILES if os.path.lexists(folder / name)]
    if there:
        raise click.ClickException(
            f"{folder} has {' and '.join(there)} already; nothing was written. Name another folder."
        )
    template = files(__package__).joinpath("template")
    for name in FILES:
        try:
            _write(folder / name, template.joinpath(name).read_bytes())
        except OSError as error:
            raise click.ClickException(
                f"{folder / name} cannot be written: {error.strerror}."
            ) from error
        click.echo(f"  {folder / name}")
    click.echo(f"Start it with: mlserver start {folder}\nThe rest is in {folder / 'README.md'}")


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # "x": a file that came meanwhile is not written over either.
    with path.open("xb") as file:
        file.write(content)
